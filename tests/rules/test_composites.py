"""Composites: who gets what, what is refused, and that plan, JSON and files say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import provnet
from provnet import rules
from provnet.circuit.weights import Stored
from provnet.errors import FileFormatError, OptionError, UnknownNameError, UnsupportedOperationError, ValuationError
from tests.nets import seeded


class Net(nn.Module):
    """A convolution, a kept or fused batch norm, a skip, both poolings, two dense layers: [2, 6, 6] -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.fc1, self.fc2 = nn.Linear(3 * 2 * 2, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(x + self.norm(self.conv2(x)))
        x = F.avg_pool2d(F.max_pool2d(x, 2), 2, stride=1)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    x = torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return provnet.trace(seeded(Net), x)


def taken(circuit: provnet.Circuit, rule: Any) -> dict[str, str]:
    """Return block path -> the rule that the plan shows, for blocks with coefficients."""
    return {row.path: row.rule for row in circuit.plan(rule) if row.edges}


POOLS = ("max_pool2d_with_indices", "avg_pool2d")


def test_each_way_to_choose_blocks(circuit: provnet.Circuit):
    plain, chosen = repr(rules.Zero()), repr(rules.Flat())
    linear = ["conv1", "conv2", "fc1", "fc2"]
    for key, expected in [
        ("fc1", ["fc1"]),
        ("fc*", ["fc1", "fc2"]),
        ("*", linear),
        (nn.Conv2d, ["conv1", "conv2"]),
        (0, ["conv1"]),
        (-1, ["fc2"]),
        (rules.Depth(1, "dense"), ["fc2"]),
        (rules.OpName("convolution"), ["conv1", "conv2"]),
        (rules.Module("BatchNorm2d"), ["conv2"]),
        (rules.Kind("linear"), linear),
        (rules.Kind("sum"), ["add_1"]),
        (lambda block: isinstance(block.weight, Stored) and block.weight.values.numel() == 12, ["fc2"]),
    ]:
        got = taken(circuit, {key: rules.Flat()})
        assert {path for path, rule in got.items() if rule == chosen} == set(expected), key
        assert all(rule in (chosen, plain, "winner") for rule in got.values())


@pytest.mark.guarantee("later entries of a composite override earlier ones, and the plan says which one chose")
def test_later_entries_override(circuit: provnet.Circuit):
    composite = rules.Composite({rules.Kind("linear"): rules.Gamma(0.5), "fc*": "epsilon", "fc2": {"bias": False}})
    got = taken(circuit, composite)
    assert got["conv1"] == got["conv2"] == repr(rules.Gamma(0.5))
    assert got["fc1"] == repr(rules.Epsilon())
    assert got["fc2"] == f"{rules.Epsilon()!r} without bias"
    why = {row.path: row.why for row in circuit.plan(composite)}
    assert (why["conv1"], why["fc1"], why["fc2"], why["add_1"]) == ("Kind('linear')", "'fc*'", "'fc*'", "default")
    assert taken(circuit, composite | {0: rules.ZBox(0, 1)})["conv1"] == repr(rules.ZBox(0, 1))


def test_the_default_is_for_linear_maps(circuit: provnet.Circuit):
    got = taken(circuit, rules.Composite({"fc2": rules.Zero()}, default="epsilon"))
    assert got["conv1"] == got["fc1"] == repr(rules.Epsilon())
    assert got["add_1"] == repr(rules.Zero())


def test_pooling_and_bias_by_path(circuit: provnet.Circuit):
    """A composite's conventions are those of the evaluation, where it says so."""
    everywhere = rules.Composite([(rules.Kind("pooling"), {"pooling": "proportional"})])
    for semiring in ("real", "viterbi", "boolean"):
        by_composite = circuit.evaluate(semiring, 1, everywhere)
        assert torch.equal(by_composite.inputs, circuit.evaluate(semiring, 1, pooling="proportional").inputs)
        assert not torch.equal(by_composite.inputs, circuit.evaluate(semiring, 1).inputs) or semiring == "boolean"
        seeded_ = rules.Composite([(rules.Kind("pooling"), {"pooling": "seed"})])
        assert torch.equal(
            circuit.evaluate(semiring, 1, seeded_).inputs, circuit.evaluate(semiring, 1, pooling="seed").inputs
        )
    without = rules.Composite([(rules.Kind("linear"), {"bias": False})])
    result = circuit.evaluate("real", 1, without)
    assert torch.equal(result.inputs, circuit.evaluate("real", 1, bias=False).inputs)
    assert result.bias == {}


def test_a_composite_of_one_rule_is_that_rule(circuit: provnet.Circuit):
    for rule in (rules.Gamma(0.3), rules.AlphaBeta(), rules.Epsilon(0.1)):
        for semiring in ("real", "viterbi", "counting"):
            alone = circuit.evaluate(semiring, 2, rule).inputs
            assert torch.equal(alone, circuit.evaluate(semiring, 2, {rules.Kind("linear"): rule}).inputs)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.guarantee("an empty composite, a pattern that fits nothing and a rule where it cannot apply are refused")
@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (dict, OptionError, "no entries"),
        (lambda: {"nothing.*": rules.Flat()}, UnknownNameError, "'nothing.*' fits no block"),
        (lambda: {nn.LSTM: rules.Flat()}, UnknownNameError, "Module('LSTM')"),
        (lambda: {7: rules.Flat()}, UnknownNameError, "there are 4 blocks"),
        (lambda: {rules.Kind("poling"): rules.Flat()}, OptionError, "'poling'"),
        (lambda: {"fc2": rules.ZBox(0, 1)}, OptionError, "lies between this block and the source"),
        (lambda: rules.ZBox(0, 1), OptionError, "lies between this block and the source"),
        (lambda: {0: rules.ZBox((0, 0, 0), 1)}, OptionError, "3 bounds"),
        (lambda: {"fc1": rules.Pass()}, OptionError, "12 inputs each"),
        (lambda: {rules.OpName("max_pool2d_with_indices"): rules.Flat()}, OptionError, "fits only"),
        (lambda: {rules.Kind("activation"): rules.Epsilon()}, OptionError, "wants a block"),
        (lambda: {"fc1": {"pooling": "seed"}}, OptionError, "wants poolings"),
        (lambda: {"fc1": {"pooling": "max"}}, OptionError, "'max'"),
        (lambda: {"fc1": {"bias": 0}}, OptionError, "take True or False"),
        (lambda: {"fc1": {}}, OptionError, "says nothing"),
        (lambda: {"fc1": {"softmax": "identity"}}, OptionError, "wants softmaxes"),
        (lambda: {"fc1": 3}, OptionError, "got 3"),
        (lambda: {3.5: rules.Flat()}, OptionError, "chooses no blocks"),
        (lambda: {"fc1": rules.EpsilonPlus()}, OptionError, "inside another"),
        (lambda: 7, OptionError, "a propagation rule was expected"),
        (lambda: "epsilom", UnknownNameError, "epsilon"),
    ],
)
def test_refusals(circuit: provnet.Circuit, make: Any, error: type[Exception], says: str):
    for ask in (circuit.plan, lambda rule: circuit.evaluate("real", 0, rule)):
        with pytest.raises(error) as caught:
            ask(make())
        assert says in str(caught.value)


@pytest.mark.guarantee(
    "numbers that break a rule's law are refused: α − β ≠ 1, negative ε or γ, low > high, inputs outside the box"
)
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rules.AlphaBeta(2, 2), "α − β = 1"),
        (lambda: rules.AlphaBeta(0.5, -0.5), "beta=-0.5"),
        (lambda: rules.Epsilon(-1), "epsilon=-1"),
        (lambda: rules.Epsilon(float("nan")), "epsilon=nan"),
        (lambda: rules.Gamma(-0.1), "gamma=-0.1"),
        (lambda: rules.Gamma(float("inf")), "gamma=inf"),
        (lambda: rules.ZPlus(-1), "stabilizer=-1"),
        (lambda: rules.WSquare(True), "stabilizer=True"),
        (lambda: rules.ZBox(1, 0), "above high"),
        (lambda: rules.ZBox((0, 0), (1, 1, 1)), "2 lower and 3 upper"),
        (lambda: rules.ZBox("a", 1), "low='a'"),
        (lambda: rules.ZBox(torch.zeros(2, 2), 1), "one for each channel"),
        (lambda: rules.ZBox(0, float("nan")), "high=nan"),
    ],
)
def test_broken_laws(make: Any, says: str):
    with pytest.raises(OptionError) as caught:
        make()
    assert says in str(caught.value)


def test_inputs_outside_the_box_are_refused(circuit: provnet.Circuit):
    with pytest.raises(OptionError, match="lie outside"):
        circuit.evaluate("real", 0, {0: rules.ZBox(0.25, 1)})


def test_gates_refuse_edges_that_they_lack(circuit: provnet.Circuit):
    wider = rules.Composite([(rules.Kind("pooling"), {"pooling": "proportional"})])
    with pytest.raises(ValuationError, match="proportional"):
        circuit.gates(1, at=("conv1", 0, 0, 0)).valuation("real", rule=wider)
    with pytest.raises(ValuationError, match="units=True"):
        circuit.gates(1, at=("conv1", 0, 0, 0)).valuation("real", rule="gradient")
    gates = circuit.gates(1, pooling="proportional")
    found = torch.stack(list(gates.evaluate("real", gates.valuation("real", rule=wider)).values()))
    wanted = circuit.evaluate("real", 1, wider).inputs[0].reshape(-1)
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-14)


# --- the plan, JSON, files --------------------------------------------------------------------------------------------

ALL = [
    rules.Zero(),
    rules.Epsilon(0.1, literal=True, rms=0.25),
    rules.Gamma(0.3, signed=True, stabilizer=1e-6),
    rules.AlphaBeta(1.5, 0.5),
    rules.ZPlus(1e-9),
    rules.ZBox((-1.0, -2.0), 3),
    rules.WSquare(),
    rules.Flat(),
    rules.Pass(),
    rules.Norm(),
    rules.Gradient(),
    rules.Absolute(),
    rules.EpsilonPlus(),
    rules.EpsilonGammaBox((-1, -1), (1, 1)),
    rules.EpsilonAlpha2Beta1Flat(),
    rules.DeepTaylor(),
    rules.VGG16(),
    rules.Composite({nn.Conv2d: "gamma", "fc*": {"rule": "epsilon", "bias": False}, -1: rules.Flat()}, default="zplus"),
    rules.Composite({rules.OpName("addmm"): "zero", rules.Depth(0, "pooling"): {"pooling": "seed"}}),
]


@pytest.mark.guarantee("every rule and composite comes back equal from JSON")
@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_json(rule: rules.Rule):
    back = rules.from_json(rules.to_json(rule))
    assert back == rule
    assert hash(back) == hash(rule)
    assert repr(back) == repr(rule)
    assert [other for other in ALL if other == back] == [rule]


def test_selectors_of_ops_keep_their_name_in_files():
    assert '"selector": "Op"' in rules.to_json(rules.Composite({rules.OpName("addmm"): "zero"}))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"rule": "composite"}', '{"rule": "epsilon-plus"}', '{"rule": "zero", "x": 1}']
)
def test_broken_json(text: str):
    with pytest.raises(FileFormatError):
        rules.from_json(text)


def test_a_function_has_no_json():
    with pytest.raises(UnsupportedOperationError, match="by a function"):
        rules.to_json(rules.Composite({(lambda block: True): "zero"}))


@pytest.mark.guarantee("a composite is saved with the circuit and comes back equal")
def test_saved_with_the_circuit(circuit: provnet.Circuit, tmp_path: Path):
    assert circuit.rule is None
    provnet.save(circuit, tmp_path / "c.provnet", rule=rules.EpsilonGammaBox(0, 1))
    back = provnet.load(tmp_path / "c.provnet")
    assert isinstance(back, provnet.Circuit)
    assert back.rule is not None
    assert back.rule == rules.EpsilonGammaBox(0, 1)
    assert torch.equal(
        back.evaluate("real", 1, back.rule).inputs, circuit.evaluate("real", 1, rules.EpsilonGammaBox(0, 1)).inputs
    )
    gradients = [c.evaluate("real", 1, "gradient").inputs for c in (circuit, back)]
    assert torch.equal(*gradients)


def test_printing():
    shown = str(rules.EpsilonPlus() | {"fc2": {"bias": False}})
    assert "Kind('convolution'): ZPlus(stabilizer=1e-06)" in shown
    assert "'fc2': bias=False" in shown


def test_coefficient_ranges_on_request(circuit: provnet.Circuit):
    plan = circuit.plan(rules.EpsilonPlus(), coefficients=True)
    ranges = {row.path: row.coefficients for row in plan}
    assert ranges["conv1"].startswith("0 … ")
    low, high = map(float, ranges["fc2"].split(" … "))
    d = circuit.evaluate("real", 1, rules.EpsilonPlus()).messages("fc2")[:, 1, :-1]  # relevance is one there
    assert low <= float(d.min()) + 1e-3
    assert float(d.max()) <= high * 1.001
    assert "coefficients" in str(plan)
    assert "coefficients" not in str(circuit.plan())


def test_every_registered_name_makes_a_rule(circuit: provnet.Circuit):
    for name in rules.names():
        if name != "composite":
            assert isinstance(rules.get(name), rules.Rule)
