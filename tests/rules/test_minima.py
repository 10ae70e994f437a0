"""Minima: of two traced tensors, over axes, beside the maxima of what is negated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import provnet
from provnet.errors import CrossExampleError
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

CASES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "two": (lambda x: torch.minimum(x, x.flip(1)), lambda x: -torch.maximum(-x, -x.flip(1))),
    "broadcast": (lambda x: torch.min(x[:, :1], x[:, 1:]), lambda x: -torch.max(-x[:, :1], -x[:, 1:])),
    "fmin": (lambda x: torch.fmin(x, x.sin()), lambda x: -torch.fmax(-x, -x.sin())),
    "amin": (lambda x: x.amin(-1), lambda x: -(-x).amax(-1)),
    "over two axes": (lambda x: x.amin((1, 2), keepdim=True), lambda x: -(-x).amax((1, 2), keepdim=True)),
    "with indices": (lambda x: x.min(1).values, lambda x: -(-x).max(1).values),
}


@pytest.mark.guarantee("a minimum passes everything to the first smallest entry, as a maximum of what is negated")
@pytest.mark.parametrize("name", CASES)
def test_minima(name: str) -> None:
    function, negated = CASES[name]
    x = seeded(90, 3, 2, 4)
    circuit = keeps_its_promises(function, x)
    twin = provnet.trace(lambda x: negated(x).flatten(1), x)
    for semiring in ("real", "viterbi", "boolean", "counting", "tropical"):
        for route in ("auto", "reference"):
            found = circuit.evaluate(semiring, 0, route=route).inputs
            torch.testing.assert_close(found, twin.evaluate(semiring, 0, route=route).inputs)


def test_the_first_of_equal_ones_wins() -> None:
    x = torch.ones(2, 4)
    found = provnet.trace(lambda x: x.amin(1, keepdim=True), x).evaluate("real", 0).inputs
    assert torch.equal(found, torch.eye(4)[:1].expand(2, 4))
    found = provnet.trace(lambda x: torch.minimum(x[:, :2], x[:, 2:]), x).evaluate("real", 0).inputs
    assert torch.equal(found, torch.eye(4)[:1].expand(2, 4))


def test_a_minimum_over_examples_is_refused() -> None:
    with pytest.raises(CrossExampleError, match="holds the examples"):
        provnet.trace(lambda x: x - x.amin(0), seeded(91, 3, 2))
