"""Every exact value of the reference table for LRP-0 and LRP-ε, on blocks and on gates, to the conventions' letter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import provnet
from tests.golden import Question, entries, matches
from tests.nets import golden_net

RULES = {
    "lrp0": provnet.rules.Zero(),
    "eps1e-6": provnet.rules.Epsilon(1e-6),
    "eps0.1": provnet.rules.Epsilon(0.1),
    "epslit0.1": provnet.rules.Epsilon(0.1, literal=True),
    "epsrms0.25": provnet.rules.Epsilon(1e-9, literal=True, rms=0.25),
}
LAYERS = ("", "1", "3", "4")
"""The tensor behind golden's R0 to R3: the input, the two activations, the output."""
DENSE = ("0", "2", "4")


def circuit_of(golden: dict[str, np.ndarray], device: torch.device | str = "cpu") -> Any:
    model = golden_net(golden).to(device)
    return provnet.trace(model, torch.tensor(golden["x"], device=device))


def annotation(question: Question) -> Any:
    return provnet.annotations.Threshold(question.theta) if question.semiring in ("boolean", "counting") else None


def questions(golden: dict[str, np.ndarray]) -> Iterator[tuple[Question, dict[str, np.ndarray]]]:
    yield from ((question, wanted) for question, wanted in entries(golden).items() if question.rule in RULES)


def on_blocks(result: Any, name: str) -> torch.Tensor:
    """Return R0…R3, bias0…bias2 or messages0…messages2 of a result, the examples first."""
    kind, layer = name[:-1], int(name[-1])
    if kind == "bias":
        return result.bias[DENSE[layer]]
    if kind == "messages":
        return result.messages(DENSE[layer])
    return result[LAYERS[layer]] if layer else result.inputs


@pytest.mark.guarantee("blocks reproduce every exact value for LRP-0 and LRP-ε: relevance, messages, bias totals")
@pytest.mark.parametrize("route", ["auto", "reference"])
def test_blocks(golden: dict[str, np.ndarray], device: torch.device, route: str):
    circuit, wrong, number = circuit_of(golden, device), [], 0
    for question, wanted in questions(golden):
        result = circuit.evaluate(
            question.semiring, question.target, RULES[question.rule], annotation(question), route=route
        )
        for name, value in wanted.items():
            number += 1
            if not matches(on_blocks(result, name)[question.example].cpu(), value):
                wrong.append((question, name))
    assert wrong == []
    assert number == 5 * 280


@pytest.mark.guarantee("gates reproduce every exact relevance and bias total for LRP-0 and LRP-ε")
def test_gates(golden: dict[str, np.ndarray]):
    circuit, wrong, number = circuit_of(golden), [], 0
    names = {f"R{layer}": name for layer, name in enumerate((circuit.sources[0], *LAYERS[1:]))}
    names |= {f"bias{layer}": f"{name}:bias" for layer, name in enumerate(DENSE)}
    at = [name for name in names.values() if not name.endswith(":bias")]
    gates = {(k, t): circuit.gates(target=t, batch=k, at=at, biases=True) for k in range(2) for t in range(2)}
    for question, wanted in questions(golden):
        mine, semiring = gates[question.example, question.target], provnet.semirings.get(question.semiring)
        values = mine.valuation(semiring, rule=RULES[question.rule], annotation=annotation(question))
        found = mine.evaluate(semiring, values)
        for part, name in names.items():
            elements = torch.stack([found[root] for root in mine.roots if root.path == name])
            number += 1
            if not matches(semiring.sum(elements, 0) if name.endswith(":bias") else elements, wanted[part]):
                wrong.append((question, part))
    assert wrong == []
    assert number == 5 * 28 * 7


@pytest.mark.guarantee("blocks and gates give the same bits on the reference route, in every semiring")
def test_gates_and_the_reference_route_agree_to_the_bit(golden: dict[str, np.ndarray]):
    circuit = circuit_of(golden)
    for semiring in ("boolean", "counting", "viterbi", "tropical", "bottleneck"):
        for rule in RULES.values():
            gates = circuit.gates(target=1, batch=1)
            found = gates.evaluate(semiring, gates.valuation(semiring, rule=rule))
            result = circuit.evaluate(semiring, 1, rule, route="reference")
            assert torch.equal(torch.stack(list(found.values())), result.inputs[1])
