"""What a result says: tensors by name, biases, sinks, messages, conservation, and when it must refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import provnet
from provnet.errors import LimitError, OptionError, ProvnetError, StaleCircuitError, UnknownNameError
from provnet.errors import UnsupportedOperationError as Unsupported

SIX = ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck")


class Branches(nn.Module):
    """A residual sum, a module used twice, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)
        self.last = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.first(x))
        h = h + F.relu(self.twice(h))
        return self.last(torch.cat([h, F.relu(self.twice(h))], dim=1))


@pytest.fixture(scope="module")
def model() -> Branches:
    torch.manual_seed(1)
    return Branches().double()


@pytest.fixture(scope="module")
def circuit(model: Branches) -> provnet.Circuit:
    torch.manual_seed(2)
    return provnet.trace(model, torch.rand(2, 4, dtype=torch.float64))


def test_every_recorded_tensor_has_relevance(circuit: provnet.Circuit):
    found = circuit.evaluate("real")
    for name in found.keys():
        assert torch.isfinite(found[name]).all(), name
    assert torch.equal(found["input"], found.inputs)
    assert found["first"].shape == (2, 4)
    assert found["output"].sum() == 2


def test_a_reused_module_names_its_calls(circuit: provnet.Circuit):
    found = circuit.evaluate("real")
    with pytest.raises(UnknownNameError, match=r"twice#0.*twice#1"):
        found["twice"]
    assert not torch.equal(found["twice#0"], found["twice#1"])


def test_unknown_names_are_listed(circuit: provnet.Circuit):
    with pytest.raises(UnknownNameError, match=r"'frist'.*first"):
        circuit.evaluate("real")["frist"]
    with pytest.raises(UnknownNameError, match="fits no recorded tensor"):
        circuit.evaluate("real", at="conv*")


def test_kept_tensors_need_no_second_walk(circuit: provnet.Circuit):
    kept = circuit.evaluate("viterbi", at=["fir*", "twice#1"])
    later = circuit.evaluate("viterbi")
    for name in ("first", "twice#1", "input"):
        assert torch.equal(kept[name], later[name])


@pytest.mark.guarantee("messages R_{i<-j} fold to the relevance, the bias column to the bias's total")
@pytest.mark.parametrize("semiring", SIX)
def test_messages_fold_to_relevance(circuit: provnet.Circuit, semiring: str):
    """[GSM25] eq. 6 and 7: the ⊕ of a neuron's messages is its relevance, and the bias column is the bias's total."""
    algebra = provnet.semirings.get(semiring)
    found = circuit.evaluate(semiring, route="reference")
    messages = found.messages("first")
    assert messages.shape == (2, 4, 5)
    torch.testing.assert_close(algebra.sum(messages[:, :, :-1], 1), found.inputs, rtol=1e-12, atol=0)
    torch.testing.assert_close(algebra.sum(messages[:, :, -1], 1), found.bias["first"], rtol=1e-12, atol=0)


def test_messages_of_unit_edges_and_of_large_blocks_are_refused(circuit: provnet.Circuit):
    found = circuit.evaluate("real")
    unit = next(step.path for step in found.plan if step.route == "unit")
    with pytest.raises(Unsupported, match="unit edges"):
        found.messages(unit)
    with pytest.raises(LimitError, match="40 entries"):
        found.messages("first", limit=39)
    with pytest.raises(UnknownNameError, match="no block"):
        found.messages("nowhere")


@pytest.mark.guarantee("conservation holds layer by layer where the annotation conserves")
@pytest.mark.parametrize("semiring", ["real", "viterbi", "tropical"])
def test_conservation_layer_by_layer(circuit: provnet.Circuit, semiring: str):
    report = circuit.evaluate(semiring).conservation()
    assert report.holds(1e-9)
    for layer in report.layers:
        assert layer.residual() < 1e-9, layer.path
    assert "last" in str(report)


def test_counting_does_not_conserve_and_the_report_says_where(circuit: provnet.Circuit):
    report = circuit.evaluate("counting").conservation()
    assert not report.holds()
    with pytest.raises(ProvnetError, match=r"not conserved.*'last'"):
        report.check()


@pytest.mark.guarantee("in the reals, inputs and sinks add up to the start, stabilisers included")
def test_sinks_close_the_balance_in_the_reals(circuit: provnet.Circuit):
    for rule in ("zero", provnet.rules.Epsilon(0.5)):
        found = circuit.evaluate("real", rule=rule)
        total = found.inputs.sum(1) + sum(found.sinks.values())
        torch.testing.assert_close(total, torch.ones(2, dtype=torch.float64))


def test_without_biases_nothing_sinks(circuit: provnet.Circuit):
    found = circuit.evaluate("real", bias=False)
    assert not found.bias
    torch.testing.assert_close(found.inputs.sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.guarantee("a parameter changed after tracing makes evaluate raise; copy=True owns its weights")
def test_a_changed_parameter_is_noticed():
    model = Branches().double()
    x = torch.rand(1, 4, dtype=torch.float64)
    stale, owned = provnet.trace(model, x), provnet.trace(model, x, copy=True)
    before = owned.evaluate("real", target=0).inputs
    gates = stale.gates(target=0)
    asked = stale.evaluate("real", target=0)
    with torch.no_grad():
        model.first.weight.mul_(1.0)
    for ask in (
        lambda: stale.evaluate("real"),
        lambda: gates.evaluate("real"),
        lambda: asked["first"],
        lambda: stale.gates(),
    ):
        with pytest.raises(StaleCircuitError, match=r"'first.weight'.*copy=True"):
            ask()
    assert torch.equal(owned.evaluate("real", target=0).inputs, before)


def test_several_sources_are_asked_by_name():
    def model(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + 2 * y

    circuit = provnet.trace(model, torch.ones(1, 3), torch.ones(1, 3))
    assert set(circuit.sources) == {"x", "y"}
    found = circuit.evaluate("real", target=1)
    with pytest.raises(OptionError, match="2 sources"):
        _ = found.inputs
    torch.testing.assert_close(found["x"], torch.tensor([[0.0, 1 / 3, 0.0]]))
    torch.testing.assert_close(found["y"], torch.tensor([[0.0, 2 / 3, 0.0]]))


def test_annotations_by_list_mapping_and_layer(circuit: provnet.Circuit):
    threshold = provnet.annotations.Threshold
    strict = threshold(0.3)
    one, other = circuit.evaluate(["boolean", "counting"], annotation={"boolean": strict})
    assert torch.equal(one.inputs, circuit.evaluate("boolean", annotation=strict).inputs)
    assert torch.equal(other.inputs, circuit.evaluate("counting").inputs)
    layered = threshold({"last": 0.3, "twice*": 0.2}, default=0.0)
    circuit.evaluate("boolean", annotation=layered)
    with pytest.raises(UnknownNameError, match="'lsat' fits no block"):
        circuit.evaluate("boolean", annotation=threshold({"lsat": 0.3}))
    with pytest.raises(OptionError, match="semiring lists 2, annotation lists 1"):
        circuit.evaluate(["boolean", "counting"], annotation=[strict])
    with pytest.raises(OptionError, match="not asked for"):
        circuit.evaluate(["boolean"], annotation={"viterbi": strict})


def test_tables_print(circuit: provnet.Circuit):
    summary = circuit.summary()
    assert "first" in str(summary)
    assert "aten.addmm" in str(summary)
    assert sum(row.edges for row in summary) == circuit.edges == 16 + 16 + 8 + 16 + 24
    assert "Threshold(0.25)" in str(circuit.plan("boolean", "epsilon", provnet.annotations.Threshold(0.25)))


def test_explain_is_the_whole_way(model: Branches):
    x = torch.rand(1, 4, dtype=torch.float64)
    assert torch.equal(
        provnet.explain(model, x, semiring="viterbi", target=1).inputs,
        provnet.trace(model, x).evaluate("viterbi", target=1).inputs,
    )


def test_an_unknown_name_is_answered_with_the_sources_and_no_flood_of_names() -> None:
    deep = nn.Sequential(*(nn.Linear(2, 2) for _ in range(30)))
    with pytest.raises(
        UnknownNameError, match=r"Sources: 'input'\. Known: 0, .*: circuit\.keys\(\) lists all\."
    ) as caught:
        provnet.trace(deep, torch.rand(1, 2)).evaluate("real", 0)["zzzzz"]
    assert len(str(caught.value)) < 300
    first, second = nn.Embedding(5, 3), nn.Embedding(5, 3)
    model = nn.ModuleDict({"first": first, "second": second})
    model.forward = lambda ids: model["first"](ids).flatten(1) + model["second"](ids).flatten(1)  # type: ignore[method-assign]
    with pytest.raises(UnknownNameError, match="Did you mean 'ids@first' or 'ids@second'"):
        provnet.trace(model, torch.tensor([[1, 2]])).evaluate("real", 0)["ids"]


class Pixels(nn.Module):
    """A model with one argument, that has a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.line(pixels)


@pytest.mark.guarantee("a lone source goes by the name of its argument as well as by 'input'")
def test_a_lone_source_goes_by_its_arguments_name():
    x = torch.rand(2, 3)
    circuit = provnet.trace(Pixels().eval(), x)
    found = circuit.evaluate("real", 0)
    assert circuit.sources == ("input",)
    assert torch.equal(found["pixels"], found["input"])
    assert torch.equal(
        circuit.on(pixels=x + 1).evaluate("real", 0).inputs, circuit.on(x + 1).evaluate("real", 0).inputs
    )
