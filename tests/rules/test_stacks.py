"""Stacks of different constant matrices within one example: heads, experts, a learned query for each of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

MATRICES, QUERIES, OWN = seeded(92, 2, 3, 3), seeded(93, 2, 2, 3), seeded(94, 4, 3, 3)


def heads(x: Tensor) -> Tensor:
    """Two heads of two rows of three, merged with the examples."""
    return x.reshape(-1, 2, 2, 3).flatten(0, 1)


STACKS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda x: torch.bmm(heads(x), MATRICES.repeat(len(x), 1, 1)).reshape(len(x), -1),
    "queries": lambda x: torch.bmm(QUERIES.repeat(len(x), 1, 1), heads(x).mT).reshape(len(x), -1),
    "examples inside": lambda x: (
        torch.bmm(heads(x).unflatten(0, (-1, 2)).transpose(0, 1).flatten(1, 2), MATRICES)
        .unflatten(1, (-1, 2))
        .transpose(0, 1)
    ),
    "each example its own": lambda x: torch.bmm(heads(x), OWN[: 2 * len(x)]).reshape(len(x), -1),
}


@pytest.mark.guarantee("stacks of different constant matrices within one example are linear maps")
@pytest.mark.parametrize("name", STACKS)
def test_stacks(name: str) -> None:
    circuit = keeps_its_promises(STACKS[name], seeded(95, 2, 12))
    assert "linear" in [block.role for block in circuit.session.data.blocks]
