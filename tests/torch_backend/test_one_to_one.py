"""Blocks whose neurons feed those in their own places, by the route that folds nothing, against the definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.semirings.annotations import Threshold
from provnet.torch_backend.blocks.tiling import TILE
from tests.nonlinear_cases import seeded

EVERY = ("real", "viterbi", "tropical", "boolean", "counting", "bottleneck", "log", "security")


def normed() -> nn.Module:
    """A batch norm by itself: one weight and one bias a channel."""
    module = nn.BatchNorm1d(3).double().eval()
    with torch.no_grad():
        for value in (module.weight, module.bias, module.running_mean):
            value.copy_(torch.round(2 * seeded(5, 3)))  # type: ignore[union-attr]  # an affine norm has them all
    return module


def masked(x: Tensor) -> Tensor:
    """Padding, which is no neuron, added to what is not padded."""
    return torch.nn.functional.pad(x, (1, 1)) + torch.cat([x, x[..., :2]], -1)


CASES: dict[str, Callable[..., Tensor]] = {
    "sum": lambda x: x + 2 * x.flip(-1) + 1,
    "gate": lambda x: torch.sigmoid(x) * x.flip(-1),
    "norm": normed(),
    "constant by example": lambda x: x + torch.arange(2.0, dtype=x.dtype)[:, None, None],
    "padded": masked,
}


@pytest.fixture(scope="module")
def circuits() -> dict[str, provnet.Circuit]:
    x = torch.round(3 * seeded(3, 2, 3, 4))  # zeros, ties, both signs
    return {name: provnet.trace(case, x) for name, case in CASES.items()}


@pytest.mark.guarantee("sums of tensors, gates and batch norms have on their fast route the definition's bits")
@pytest.mark.parametrize("semiring", EVERY)
@pytest.mark.parametrize("name", CASES)
def test_one_to_one_is_the_definition(
    circuits: dict[str, provnet.Circuit], name: str, semiring: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everywhere but in the reals the route is taken by itself; there the transposed map comes first."""
    monkeypatch.setitem(TILE, "cpu", 8)  # several pieces, of which the last is shorter
    circuit = circuits[name]
    decided = [Threshold(0.2), Threshold(0.5, of="share"), Threshold(-1.0)]
    for annotation in decided if semiring in ("boolean", "counting") else [None]:
        given: dict[str, Any] = {"at": "*", "annotation": annotation}
        fast = circuit.evaluate(semiring, (2, 1), route="one-to-one", **given)
        slow = circuit.evaluate(semiring, (2, 1), route="reference", **given)
        assert "one-to-one" in {step.route for step in fast.plan}
        for path in slow.keys():
            np.testing.assert_array_equal(np.asarray(fast[path]), np.asarray(slow[path]))
        for path, taken in slow.bias.items():
            torch.testing.assert_close(fast.bias[path], taken)  # a sum of many terms in another order
    if semiring != "real":
        assert "one-to-one" in {step.route for step in circuit.evaluate(semiring, (2, 1)).plan}


def test_what_is_lost_is_told() -> None:
    """A neuron whose contributions are all 0 passes nothing on."""
    circuit = provnet.trace(lambda x: x + x.flip(-1), torch.zeros(1, 4, dtype=torch.float64))
    for semiring in ("real", "viterbi", "boolean"):
        one, other = (circuit.evaluate(semiring, 0, route=route) for route in ("one-to-one", "reference"))
        assert {k: v.tolist() for k, v in one.sinks.items()} == {k: v.tolist() for k, v in other.sinks.items()}
        assert any(bool((v != 0).all()) for v in one.sinks.values())
