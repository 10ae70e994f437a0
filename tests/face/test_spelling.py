"""One way to name a neuron: whatever is printed is accepted wherever a neuron is, and a near miss gets the spelling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.errors import OptionError, TargetError, UnknownNameError


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    return provnet.trace(model, torch.rand(2, 1, 4, 4))


FORMS: list[Any] = [
    "0[1, 0, 1]",
    "0[1,0,1]",
    " 0[1, 0, 1] ",
    ("0", 1, 0, 1),
    ("0", (1, 0, 1)),
    provnet.Neuron("0", (1, 0, 1)),
]


@pytest.mark.guarantee("every form of a neuron's name is accepted wherever a neuron is")
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_every_form_is_accepted_everywhere(circuit: provnet.Circuit, form: Any):
    gates = circuit.gates(at=form, target=0)
    assert list(map(str, gates.roots)) == ["0[1, 0, 1]"]
    assert circuit.gates(at=[form], target=0).roots == gates.roots
    whole = circuit.gates(at="0", target=0)
    assert whole.formula(form) == gates.formula()
    assert whole.polynomial(form) == gates.polynomial()
    assert whole.evaluate("real")[form] == gates.evaluate("real")["0[1, 0, 1]"]
    assert whole.provenance("why")[form] == gates.provenance("why", form)
    relevance = circuit.evaluate("real", target=0, at=form)
    assert torch.equal(relevance[form], relevance["0"][:, 1, 0, 1])


@pytest.mark.parametrize(
    "target", [2, "3[2]", "3[ 2 ]", ("3", 2), provnet.Neuron("3", (2,)), ["3[2]", 2], "dog"], ids=repr
)
def test_targets_take_names(circuit: provnet.Circuit, target: Any):
    circuit.classes = ["cat", "bird", "dog"]
    assert torch.equal(circuit.evaluate("real", target=target).inputs, circuit.evaluate("real", target=2).inputs)
    several = circuit.evaluate("real", target=provnet.Targets(target, 0)).inputs
    assert torch.equal(several[0], circuit.evaluate("real", target=2).inputs)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("0[1]", "'0[1, 0, 0]'"),
        (5, "'input[0, 0, 0]'"),
        (("0", 1, 0), "'0[1, 0, 0]'"),
        ("inptu[0, 0, 0]", "'input'"),
        ("0[1, 0, 7]", "its last is 0[1, 1, 1]"),
    ],
)
def test_a_near_miss_is_told_the_right_spelling(circuit: provnet.Circuit, wrong: Any, right: str):
    with pytest.raises((OptionError, UnknownNameError)) as refusal:
        circuit.gates(at=[wrong], target=0)
    assert right in str(refusal.value)


def test_near_misses_of_roots_and_targets(circuit: provnet.Circuit):
    gates = circuit.gates(at="0", target=0)
    with pytest.raises(UnknownNameError, match=r"Did you mean '0\[1, 0, 1\]'"):
        gates.formula("0[1, 0, 11]")
    circuit.classes = ["cat", "bird", "dog"]
    with pytest.raises(TargetError, match="Did you mean 'bird'"):
        circuit.evaluate(target="brid")
    with pytest.raises(OptionError, match="2 names"):
        circuit.classes = ["cat", "dog"]


def test_a_tensor_that_is_called_like_a_neuron_comes_first():
    circuit = provnet.trace(lambda x: torch.cat(x.split(2, 1)[::-1], 1) * 2, torch.rand(1, 4))
    name = next(key for key in circuit.keys() if key.endswith("[0]"))
    assert circuit.evaluate("counting", target=0)[name].shape == (1, 2)


@pytest.mark.guarantee("a result remembers what was explained, by which rule, Θ, semiring and start")
def test_a_result_remembers_its_question(circuit: provnet.Circuit):
    circuit.classes = ["cat", "bird", "dog"]
    found = circuit.evaluate("viterbi", rule="epsilon", pooling="proportional")
    winners = circuit.outputs[0].argmax(1).tolist()
    assert found.question.explained() == [f"3[{w}] ({circuit.classes[w]})" for w in winners]
    said = str(found.question)
    for part in (
        "as predicted",
        "in viterbi",
        "rule Epsilon",
        "Θ MaxNormalised",
        "start one",
        "pooling='proportional'",
    ):
        assert part in said
    assert said in repr(found)
    several = circuit.evaluate("real", target=provnet.Targets(0, [1, 2])).question
    assert several.explained(1) == ["3[1] (bird)", "3[2] (dog)"]
    weighting = circuit.evaluate("real", target=torch.ones(2, 3)).question
    assert weighting.explained() == ["a weighting of the output"]


def test_plan_takes_its_arguments_in_the_order_of_evaluate(circuit: provnet.Circuit):
    plan = str(circuit.plan("boolean", "epsilon", provnet.annotations.Threshold(0.25)))
    assert "Epsilon" in plan and "in boolean" in plan and "Threshold(0.25)" in plan
    assert str(circuit.plan("epsilon")) == str(circuit.plan(rule="epsilon")) == str(circuit.plan("real", "epsilon"))
    assert str(circuit.plan("epsilon", "boolean", provnet.annotations.Threshold(0.25))) == plan


def test_explain_asks_what_evaluate_asks():
    x = torch.rand(1, 4)
    model = nn.Linear(4, 2)
    assert provnet.explain(model, x).semiring.name == provnet.trace(model, x).evaluate().semiring.name == "real"
