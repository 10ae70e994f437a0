"""Inspections against the circuit's own answers: nodes, wires, values, thresholds, counts of what is hidden."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import provnet
from provnet.applications.inspection import Explorer, Inspection, inspect
from provnet.applications.inspection.details import conservation, details, written
from provnet.applications.inspection.model import SAFE, PageQuestion, number, plain
from provnet.applications.inspection.network import Network
from provnet.applications.inspection.neuron_search import search
from provnet.applications.inspection.schema import FILE, schema, text
from provnet.applications.inspection.shown_paths import best_paths, climb
from provnet.errors import FileFormatError, LimitError, OptionError, UnknownNameError, UnsupportedOperationError
from provnet.rules import Gradient
from provnet.semirings.annotations import Threshold
from provnet.torch_backend.blocks.rows import rows
from tests.nets import Branching, Functional, Residual, perceptron, seeded


class Attention(nn.Module):
    """A norm, two heads of attention and a skip around them: [3, 4] -> 2."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(12, 2)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        z, _ = self.attention(y, y, y, need_weights=False)
        return self.head((x + z).flatten(1))


def pooled() -> nn.Sequential:
    """Convolutions, a norm and both kinds of pooling: [1, 8, 8] -> 3."""
    first = [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)]
    return nn.Sequential(*first, *second)


NETS: dict[str, Any] = {
    "perceptron": (lambda: perceptron(5, 4, 3), (2, 5)),
    "residual": (Residual, (2, 2, 6, 6)),
    "functional": (Functional, (2, 6)),
    "branching": (Branching, (2, 4)),
    "attention": (Attention, (2, 3, 4)),
    "cnn": (pooled, (2, 1, 8, 8)),
}
SOON = 500
"""Wires that are held against the schema in a moment: the library is slow."""
SEMIRINGS = ("real", "boolean", "viterbi", "tropical", "bottleneck", "counting")


def traced(name: str) -> provnet.Circuit:
    make, shape = NETS[name]
    torch.manual_seed(1)
    return provnet.trace(seeded(make), torch.randn(shape, dtype=torch.float64))


@dataclass(frozen=True)
class Walked:
    """A circuit that was walked from end to end once, for all tests that look at it: its second example."""

    circuit: provnet.Circuit
    explorer: Explorer
    question: PageQuestion
    seen: Inspection


@pytest.fixture(scope="module", params=NETS)
def walked(request: pytest.FixtureRequest) -> Walked:
    circuit = traced(request.param)
    explorer = Explorer(circuit)
    question = explorer.question(example=1)
    return Walked(circuit, explorer, question, everything(explorer, question))


def everything(explorer: Explorer, question: Any, names: tuple[str, ...] = SEMIRINGS) -> Inspection:
    """Every neuron with all of its inputs and outputs."""
    layers = explorer.layers
    ids = [f"{layer.id}.{k}" for layer in layers for k in range(layer.size)]
    return explorer.view(question, [(node, 1 << 30, 1 << 30) for node in ids], names=names)


@pytest.mark.guarantee("a page's wires are the edges of the explicit gates, no more and no fewer")
def test_wires_are_the_gates_variables(walked: Walked):
    """Walked neuron by neuron, restricted to neurons that reach the target, they are the variables of the cone."""
    circuit, seen = walked.circuit, walked.seen
    cone = inspect(circuit, example=1, semirings=SEMIRINGS)
    gates = circuit.gates(batch=1)
    assert set(cone.wires.variable) == set(map(str, gates.variables))
    assert len(cone.wires.variable) == len(gates.variables)
    assert set(cone.wires.variable) <= set(seen.wires.variable)
    assert len(set(seen.wires.variable)) == len(seen.wires)


@pytest.mark.guarantee("what a page shows of a neuron is what `evaluate` gives, in every semiring")
def test_values_are_those_of_evaluate(walked: Walked):
    circuit, explorer, seen = walked.circuit, walked.explorer, walked.seen
    names = {layer.id: layer.name for layer in explorer.layers}
    for name in SEMIRINGS:
        found = circuit.evaluate(name, at="*", route="reference")
        for node in seen.nodes:
            tensor = circuit.data.activations[node.layer]
            # Attention works on tensors whose first axis is no axis of examples.
            held = rows(replace(tensor, handle=found[names[node.layer]]), circuit.batch, torch.float64)
            value = held[1, node.index].item()
            assert number(node.values[name]) == pytest.approx(value, abs=1e-12), (name, node.name)


def test_a_neuron_is_the_sum_of_its_wires(walked: Walked):
    """R_j = ⊕ of the messages of the edges that leave j (GSM25 eq. 6, 7), through unit edges and skips too."""
    seen = walked.seen
    leaving: list[list[int]] = [[] for _ in seen.nodes]
    for wire, source in enumerate(seen.wires.source):
        leaving[source].append(wire)
    for name in SEMIRINGS:
        semiring = walked.explorer.answers.semirings[name]
        dtype = semiring.element_dtype(torch.float64)
        for node, wires in zip(seen.nodes, leaving, strict=True):
            if node.id in seen.targets:
                continue
            mine = [seen.wires.messages[name][wire] for wire in wires]
            total = semiring.sum(torch.tensor(mine, dtype=dtype), 0).item()
            assert number(node.values[name]) == pytest.approx(total, abs=1e-9), (name, node.name)


def test_units_with_a_coefficient_are_followed_through():
    """Under the rule `gradient` a ReLU's edge has an element, which the messages through it are multiplied by."""
    circuit = traced("perceptron")
    explorer = Explorer(circuit, rules={"slopes": Gradient()})
    question = explorer.question(rule="slopes", order="real")
    seen = everything(explorer, question, ("real",))
    relevance = circuit.evaluate("real", rule=Gradient(), route="reference")
    for k, node in enumerate(seen.nodes):
        if node.layer != seen.layers[0].id:
            continue
        mine = [m for m, s in zip(seen.wires.messages["real"], seen.wires.source, strict=True) if s == k]
        assert sum(map(float, mine)) == pytest.approx(relevance.inputs[0][node.index].item(), abs=1e-12)
    hidden = [k for k, node in enumerate(seen.nodes) if node.layer == seen.layers[1].id]
    slopes = circuit.evaluate("real", rule=Gradient(), at="*", route="reference")[seen.layers[1].name][0]
    for k in hidden:
        mine = [m for m, s in zip(seen.wires.messages["real"], seen.wires.source, strict=True) if s == k]
        assert sum(map(float, mine)) == pytest.approx(slopes[seen.nodes[k].index].item(), abs=1e-12)


def test_what_is_hidden_is_counted(walked: Walked):
    """Into a neuron lead all of its edges; from it, those that reach the target, which are the gates' variables."""
    seen = walked.seen
    alive = set(map(str, walked.circuit.gates(batch=1).variables))
    leave = [source for source, name in zip(seen.wires.source, seen.wires.variable, strict=True) if name in alive]
    count = len(seen.nodes)
    assert [node.inputs for node in seen.nodes] == np.bincount(seen.wires.target, minlength=count).tolist()
    assert [node.outputs for node in seen.nodes] == np.bincount(leave, minlength=count).tolist()


def test_the_strongest_wires_come_first(walked: Walked):
    explorer = walked.explorer
    for order in ("real", "tropical"):
        question = explorer.question(order=order)
        (target,) = explorer.targets(question)
        every = explorer.view(question, [(target, 1 << 30, 0)], names=(order,))
        few = explorer.view(question, [(target, 2, 0)], names=(order,))
        strength = explorer.answers.strength(np.array(every.wires.messages[order]), order)
        assert strength.tolist() == sorted(strength.tolist(), reverse=True)
        assert few.wires.variable == every.wires.variable[:2]


@pytest.mark.guarantee("a page's slider over θ is exact: each step's count is Boolean's at that θ")
def test_thresholds_are_exact(walked: Walked):
    circuit = walked.circuit
    steps, alive = walked.explorer.steps(walked.question)
    assert list(steps) == sorted(set(steps))
    for theta, count in zip(steps[:: max(1, len(steps) // 6)], alive[:: max(1, len(steps) // 6)], strict=True):
        boolean = circuit.evaluate("boolean", annotation=Threshold(theta), route="reference")
        assert int(boolean[circuit.sources[0]][1].sum()) == count
        just_above = float(np.nextafter(theta, math.inf))
        above = circuit.evaluate("boolean", annotation=Threshold(just_above), route="reference")
        assert int(above[circuit.sources[0]][1].sum()) < count


def test_a_threshold_changes_what_takes_one():
    explorer = Explorer(traced("perceptron"))
    plain_, high = explorer.question(), explorer.question(theta=0.5)
    (target,) = explorer.targets(plain_)
    names = ("real", "counting")
    low = explorer.view(plain_, [(target, 9, 0)], names=names)
    few = explorer.view(high, [(target, 9, 0)], names=names)
    assert low.wires.messages["real"] == few.wires.messages["real"]
    few_paths, all_paths = (sum(map(float, one.wires.messages["counting"])) for one in (few, low))
    assert few_paths < all_paths


# --- one neuron ------------------------------------------------------------------------------------------------------


def test_details_formula_and_account():
    circuit = traced("perceptron")
    explorer = Explorer(circuit, classes=["cat", 'do"g', "<b>"])
    question = explorer.question()
    node = f"{explorer.layers[0].id}.2"
    found = details(explorer, question, node)
    assert found.name == "input[2]"
    assert {answer.semiring for answer in found.answers} == set(SEMIRINGS)
    for answer in found.answers:
        expected = circuit.evaluate(answer.semiring, route="reference").inputs[0, 2].item()
        assert answer.value == expected  # both by the definition, so to the bit
    gates = circuit.gates(at=("input", 2))
    assert written(explorer, question, node).formula == str(gates.formula())
    assert written(explorer, question, node).polynomial == str(gates.polynomial())
    assert written(explorer, question, node).paths == str(gates.formula().terms) == "4"
    hidden = details(explorer, question, f"{explorer.layers[1].id}.1")
    account = hidden.account
    assert account.lost == pytest.approx(0, abs=1e-9)
    bias = float(account.bias or 0)
    assert float(account.came) == pytest.approx(float(account.passed) + bias)
    assert float(account.passed) == pytest.approx(sum(float(m.message) for m in hidden.passes))
    (target,) = explorer.targets(question)
    assert details(explorer, question, target).aliases[0] in ("cat", 'do"g', "<b>")


@pytest.mark.parametrize("name", ["viterbi", "tropical", "bottleneck"])
def test_best_paths_are_those_of_the_gates_and_of_the_walk(name: str):
    """With explicit gates, and by climbing along the messages: one value, a path that has it."""
    circuit = traced("residual")
    explorer = Explorer(circuit)
    question = explorer.question(semiring=name, order=name)
    nodes = [hit.id for hit in search(explorer, question, "input")[:4]]
    assert len(nodes) == 4
    for node in nodes:
        by_gates = best_paths(explorer, question, node, 3)
        expected = circuit.gates(at=explorer.network.name(*explorer.locate(node))).best_paths(k=3, semiring=name)
        assert [float(v) for v in by_gates.values] == pytest.approx([float(p.value) for p in expected])
        assert by_gates.variables == tuple(tuple(map(str, p.variables)) for p in expected)
        climbed = climb(explorer, question, node)
        assert [step[3] for step in climbed[0][0]] or not by_gates.values
        held = circuit.evaluate(name, at="*", route="reference")["input"].reshape(2, -1)
        value = held[0, int(node.split(".")[1])].item()
        assert float(climbed[1]) == pytest.approx(value)


def test_search_finds_neurons_layers_and_classes():
    explorer = Explorer(traced("perceptron"), classes={1: "zebra"})
    question = explorer.question()
    assert [hit.name for hit in search(explorer, question, "0[2]")] == ["0[2]"]
    # A ReLU's neuron has the relevance of the one below it.
    assert [hit.name for hit in search(explorer, question, " 1[ 2 ] ")] == ["0[2]"]
    assert search(explorer, question, "ZEB")[0].name == "2[1]"
    assert {hit.name for hit in search(explorer, question, "inp")} == {f"input[{k}]" for k in range(5)}
    assert search(explorer, question, "nothing") == search(explorer, question, "0[99]") == ()


def test_conservation_is_the_circuits_own(walked: Walked):
    report = conservation(walked.explorer, walked.question)
    own = walked.circuit.evaluate("real", route="reference").conservation()
    assert report.holds
    assert report.inputs == pytest.approx(own.inputs[1].item())
    assert [line.path for line in report.lines] == [layer.path for layer in own.layers]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", ["", "0", "0.99", "99.0", "a.b", "0.-1", "²·1", "0.1.2", "'; --"])
def test_an_id_that_is_none_is_refused(node: str):
    explorer = Explorer(traced("perceptron"))
    with pytest.raises(OptionError, match="no neuron of this circuit"):
        explorer.view(explorer.question(), [(node, 1, 0)])


def test_questions_that_cannot_be_asked():
    explorer = Explorer(traced("perceptron"))
    with pytest.raises(UnknownNameError, match="no semiring is called 'vitrebi'"):
        explorer.question(semiring="vitrebi")
    with pytest.raises(UnknownNameError, match="no propagation rule"):
        explorer.question(rule="none")
    with pytest.raises(OptionError, match="the circuit has 2"):
        explorer.question(example=2)
    with pytest.raises(OptionError, match="a page explains"):
        explorer.question(target=[1, 2])
    with pytest.raises(OptionError, match="classes names 4 of 3"):
        Explorer(traced("perceptron"), classes="abcd").class_names()
    with pytest.raises(LimitError, match="gates"):
        inspect(traced("cnn"), limit=10)


def test_a_rule_with_other_edges_is_refused():
    """`gradient` takes the derivative's form of a norm, which more neurons feed: not the edges on the page."""
    explorer = Explorer(traced("attention"))
    assert explorer.question(rule="epsilon")
    with pytest.raises(OptionError, match="other edges at 'norm'"):
        explorer.question(rule="gradient")


def test_too_many_wires_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("provnet.applications.inspection.explorer.MAX_WIRES", 10)
    explorer = Explorer(traced("perceptron"))
    with pytest.raises(LimitError, match="32 wires were asked for, more than 10"):
        everything(explorer, explorer.question())


# --- the JSON form ---------------------------------------------------------------------------------------------------


def test_the_published_schema_is_that_of_the_classes():
    assert FILE.read_text("utf-8") == text(), "python -m provnet.applications.inspection.schema writes it anew"
    jsonschema.Draft202012Validator.check_schema(schema())


def test_inspections_survive_json_and_fit_the_schema(walked: Walked):
    circuit, explorer = walked.circuit, walked.explorer
    for seen in (explorer.whole(explorer.question()), inspect(circuit), inspect(circuit.gates())):
        assert Inspection.from_json(seen.to_json()) == seen
        if len(seen.wires) < SOON:
            jsonschema.validate(json.loads(seen.to_json()), schema())


def test_gates_of_ones_own_are_inspected():
    gates = traced("perceptron").gates()
    mine = provnet.GateCircuit.from_networkx(gates.to_networkx())
    assert inspect(mine).algebras == ()
    values = torch.rand(len(mine.variables), dtype=torch.float64)
    seen = inspect(mine, valuation={"real": values}, semirings=("real",))
    jsonschema.validate(json.loads(seen.to_json()), schema())
    expected = mine.evaluate("real", values)
    for root, gate in zip(mine.roots, mine.store.root_gates.tolist(), strict=True):
        assert seen.nodes[gate].values["real"] == pytest.approx(expected[root].item())
        assert str(root) in seen.nodes[gate].name


@given(st.floats(allow_nan=False) | st.integers() | st.booleans())
def test_elements_survive_json(value: Any):
    held = json.loads(json.dumps(plain((value,)), allow_nan=False))[0]
    assert number(held) == value
    assert type(number(held)) is type(value)
    assert not isinstance(held, int) or abs(held) <= SAFE
    jsonschema.validate(held, {**schema()["$defs"]["value"]})


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "evil": 0}'])
def test_other_json_is_refused(damage: str):
    with pytest.raises(FileFormatError):
        Inspection.from_json(damage)


def test_a_damaged_inspection_is_refused():
    explorer = Explorer(traced("perceptron"))
    content = json.loads(explorer.view(explorer.question()).to_json())
    content["nodes"][0]["index"] = "x"
    with pytest.raises(FileFormatError, match="damaged"):
        Inspection.from_json(json.dumps(content))


def test_the_model_is_left_alone():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    circuit = provnet.trace(model, torch.rand(1, 3))
    explorer = Explorer(circuit)
    details(explorer, explorer.question(), explorer.targets(explorer.question())[0])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert replace(explorer.question(), theta=1.0) != explorer.question()


@pytest.mark.guarantee("a page of a circuit whose examples are wired differently is refused, and made of one of them")
def test_examples_that_are_wired_differently_are_inspected_one_by_one():
    x, index = torch.randn(2, 3), torch.tensor([[0, 2], [1, 1]])
    model = lambda x, index: x.gather(1, index)  # noqa: E731
    with pytest.raises(UnsupportedOperationError, match="one example by itself"):
        Network(provnet.trace(model, x, index).data)
    Network(provnet.trace(model, x[:1], index[:1]).data)
