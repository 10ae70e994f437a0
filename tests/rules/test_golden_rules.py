"""Every exact value of the reference table for the rules beyond LRP-0 and LRP-ε, on blocks and on gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import provnet
from provnet import rules
from tests.golden import Question, entries, matches
from tests.nets import golden_net

RULES: dict[str, rules.Rule] = {
    "gamma0.25": rules.Gamma(0.25),
    "zplus": rules.ZPlus(),
    "ab21": rules.AlphaBeta(2, 1),
    "w2_first": rules.Composite({0: rules.WSquare()}),
    "w2nobias_first": rules.Composite({0: {"rule": rules.WSquare(), "bias": False}}),
    "zB_first": rules.Composite({0: rules.ZBox(0, 1)}),
    "w2_all": rules.WSquare(),
}
LAYERS, DENSE = ("", "1", "3", "4"), ("0", "2", "4")


@pytest.fixture(scope="module")
def circuit(golden: dict[str, np.ndarray]) -> provnet.Circuit:
    return provnet.trace(golden_net(golden), torch.tensor(golden["x"]))


def annotation(question: Question) -> Any:
    return provnet.annotations.Threshold(question.theta) if question.semiring in ("boolean", "counting") else None


def asked(golden: dict[str, np.ndarray], rule: str) -> list[tuple[Question, dict[str, np.ndarray]]]:
    return [(question, wanted) for question, wanted in entries(golden).items() if question.rule == rule]


def on_blocks(result: provnet.Relevance, name: str) -> torch.Tensor:
    """Return R0…R3, bias0…bias2 or messages0…messages2, the examples first. An absent bias takes zero."""
    kind, layer = name[:-1], int(name[-1])
    semiring = result.semiring
    if kind == "R":
        return result[LAYERS[layer]] if layer else result.inputs
    absent = DENSE[layer] not in result.bias
    if kind == "bias":
        zeros = torch.zeros(2, dtype=result.inputs.dtype)
        return semiring.full((2,), semiring.zero, zeros) if absent else result.bias[DENSE[layer]]
    messages = result.messages(DENSE[layer])
    if not absent:
        return messages
    return torch.cat([messages, semiring.full((*messages.shape[:2], 1), semiring.zero, messages)], 2)


@pytest.mark.guarantee("blocks reproduce every exact value for gamma, z+, alpha-beta, w² and z^B")
@pytest.mark.parametrize("route", ["auto", "reference"])
@pytest.mark.parametrize("rule", RULES)
def test_blocks(golden: dict[str, np.ndarray], circuit: provnet.Circuit, rule: str, route: str):
    wrong, number = [], 0
    for question, wanted in asked(golden, rule):
        result = circuit.evaluate(question.semiring, question.target, RULES[rule], annotation(question), route=route)
        for name, value in wanted.items():
            number += 1
            if not matches(on_blocks(result, name)[question.example], value):
                wrong.append((question, name))
    assert wrong == []
    assert number == 280


@pytest.mark.guarantee("gates reproduce every exact relevance and bias total for gamma, z+, alpha-beta, w² and z^B")
@pytest.mark.parametrize("rule", RULES)
def test_gates(golden: dict[str, np.ndarray], circuit: provnet.Circuit, rule: str):
    names = {f"R{layer}": name for layer, name in enumerate((circuit.sources[0], *LAYERS[1:]))}
    at = list(names.values())
    names |= {f"bias{layer}": f"{name}:bias" for layer, name in enumerate(DENSE)}
    gates = {(k, t): circuit.gates(target=t, batch=k, at=at, biases=True) for k in range(2) for t in range(2)}
    wrong, number = [], 0
    for question, wanted in asked(golden, rule):
        mine, semiring = gates[question.example, question.target], provnet.semirings.get(question.semiring)
        found = mine.evaluate(semiring, mine.valuation(semiring, rule=RULES[rule], annotation=annotation(question)))
        for part, name in names.items():
            elements = torch.stack([found[root] for root in mine.roots if root.path == name])
            number += 1
            if not matches(semiring.sum(elements, 0) if name.endswith(":bias") else elements, wanted[part]):
                wrong.append((question, part))
    assert wrong == []
    assert number == 28 * 7


@pytest.mark.parametrize(
    "rule", [*RULES.values(), rules.Gamma(0.5, signed=True), rules.Flat(), rules.Absolute()], ids=repr
)
def test_blocks_and_gates_agree_to_the_bit(circuit: provnet.Circuit, rule: rules.Rule):
    gates = circuit.gates(target=1, batch=1)
    for semiring in ("boolean", "counting", "viterbi", "tropical", "bottleneck"):
        found = gates.evaluate(semiring, gates.valuation(semiring, rule=rule))
        result = circuit.evaluate(semiring, 1, rule, route="reference")
        assert torch.equal(torch.stack(list(found.values())), result.inputs[1]), semiring
