"""Grids, folds, products along an axis, minima under `pooling=`: contributions by hand, and what every op keeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import provnet
from provnet.errors import MissingRuleError
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

GRID, OWN = seeded(30, 1, 2, 2, 2).tanh(), seeded(31, 2, 2, 2, 2).tanh()
CASES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "grid": ((2, 2, 3, 3), lambda x: F.grid_sample(x, GRID.expand(len(x), -1, -1, -1), align_corners=False)),
    "a grid of each example": ((2, 1, 3, 3), lambda x: F.grid_sample(x, OWN[: len(x)], align_corners=True)),
    "nearest": ((2, 1, 3, 3), lambda x: F.grid_sample(x, GRID.expand(len(x), -1, -1, -1), mode="nearest")),
    "fold": ((2, 4, 6), lambda x: F.fold(x, (3, 4), (2, 2))),
    "fold with padding": ((2, 8, 4), lambda x: F.fold(x, (3, 2), 2, padding=1, stride=(2, 2))),
    "product": ((2, 2, 3), lambda x: x.prod(-1)),
    "product over the first": ((2, 3, 2), lambda x: x.prod(1, keepdim=True)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.guarantee(
    "grid sampling, fold and products along an axis: autograd's derivative, one answer by every route"
)
@pytest.mark.parametrize("name", CASES)
def test_promises(name: str) -> None:
    shape, function = CASES[name]
    keeps_its_promises(function, seeded(32, *shape))


@pytest.mark.parametrize(("products", "share"), [("half", 1 / 3), ("full", 1.0)])
def test_factors_share_alike(products: str, share: float) -> None:
    """The contribution of each is the product, so Viterbi passes all of it to each."""
    x, weighting = seeded(33, 2, 3), seeded(34, 2, 1)
    circuit = provnet.trace(lambda x: x.prod(1, keepdim=True), x)
    for route in ("auto", "reference"):
        found = circuit.evaluate("real", weighting, products=products, route=route).inputs
        torch.testing.assert_close(found, (weighting * share).expand(2, 3))
    strongest = circuit.evaluate("viterbi", 0, products=products).inputs
    torch.testing.assert_close(strongest, torch.ones_like(strongest))


def test_a_product_with_a_zero_has_its_derivative() -> None:
    x = torch.tensor([[2.0, 0.0, 3.0]], dtype=torch.float64)
    circuit = provnet.trace(lambda x: x.prod(1, keepdim=True), x)
    assert circuit.evaluate("real", 0, rule="gradient").inputs.tolist() == [[0.0, 6.0, 0.0]]


MINIMA: dict[str, Callable[[Tensor], Tensor]] = {
    "amin": lambda x: x.amin(1, keepdim=True),
    "minimum": lambda x: torch.minimum(x[:, :1], x[:, 1:]),
}


@pytest.mark.guarantee("minima take pooling= as maxima do")
@pytest.mark.parametrize("name", MINIMA)
def test_minima_take_a_convention(name: str) -> None:
    x = torch.tensor([[3.0, 1.0], [2.0, 6.0]], dtype=torch.float64)
    circuit = provnet.trace(MINIMA[name], x)
    for pooling, wanted in {
        "winner": [[0.0, 1.0], [1.0, 0.0]],
        "proportional": [[0.75, 0.25], [0.25, 0.75]],
        "seed": [[1.5, 0.5], [1.0, 3.0]],
    }.items():
        for route in ("auto", "reference"):
            assert circuit.evaluate("real", 0, pooling=pooling, route=route).inputs.tolist() == wanted


@pytest.mark.guarantee("an op without a rule says whether torch has a decomposition of it")
@pytest.mark.parametrize(
    ("function", "says"),
    [
        (torch.special.i0e, "a"),
        (lambda x: torch.zeros(2, 2).double().index_reduce(1, torch.tensor([0, 1, 1]), x, "amax"), "no"),
        (lambda x: x.renorm(2, 0, 1), "a"),
    ],
)
def test_an_unknown_op_says_whether_torch_takes_it_apart(function: Callable[[Tensor], Tensor], says: str) -> None:
    with pytest.raises(MissingRuleError, match=f"torch has {says} decomposition of it"):
        provnet.trace(function, seeded(36, 2, 3))
