"""Entries that are added where an index says: as operands, into constants, by a factor, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.errors import CrossExampleError, MissingRuleError
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

TO = torch.tensor([2, 0, 2, 0, 3])
"""Where the five entries of an axis are added, of four."""
CONSTANT = seeded(70, 3, 4)


def zeros(x: Tensor, *shape: int) -> Tensor:
    return x.new_zeros((len(x), *shape))


CASES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "into zeros": ((3, 5, 2), lambda x: zeros(x, 4, 2).index_add(1, TO, x)),
    "in place": ((3, 5, 2), lambda x: zeros(x, 4, 2).index_add_(1, TO, x)),
    "by a factor": ((3, 5), lambda x: zeros(x, 4).index_add(1, TO, x, alpha=-2)),
    "into itself": ((3, 5), lambda x: (2 * x).index_add(1, TO, x.sin())),
    "into a constant by example": ((3, 5), lambda x: CONSTANT.index_add(1, TO, x)),
    "into a constant": ((3, 5), lambda x: CONSTANT[:1].expand(3, 4).index_add(1, TO, x)),
    "a constant": ((3, 5), lambda x: x.index_add(1, TO[:4], CONSTANT)),
    "scatter": ((3, 2, 5), lambda x: zeros(x, 2, 4).scatter_add(2, TO.expand(3, 2, 5), x)),
    "reduced by a sum": ((3, 5), lambda x: CONSTANT.scatter_reduce(1, TO.expand(3, 5), x, "sum")),
    "a sum that leaves itself out": (
        (3, 5),
        lambda x: CONSTANT.scatter_reduce(1, TO.expand(3, 5), x, "sum", include_self=False),
    ),
    "greatest": ((3, 5), lambda x: torch.full((3, 4), -9.0).double().scatter_reduce(1, TO.expand(3, 5), x, "amax")),
    "least": ((3, 5), lambda x: x[:, :4].sin().scatter_reduce(1, TO.expand(3, 5), x, "amin")),
    "greatest of others": (
        (3, 5),
        lambda x: x[:, :4].exp().scatter_reduce(1, TO.expand(3, 5), x, "amax", include_self=False),
    ),
    "examples behind": ((3, 5), lambda x: x.new_zeros(4, 3).index_add(0, TO, x.T).T),
}


@pytest.mark.guarantee("index_add and scatter_add are sums of entries: each is an operand, a constant is the bias")
@pytest.mark.parametrize("name", CASES)
def test_sums_of_entries(name: str) -> None:
    shape, function = CASES[name]
    keeps_its_promises(function, seeded(71, *shape))


def test_it_is_the_dense_matrix() -> None:
    """A slow twin: the same sums as a product with a matrix of zeros and ones."""
    matrix = torch.zeros(5, 4, dtype=torch.float64)
    matrix[torch.arange(5), TO] = 1
    x = seeded(72, 3, 5)
    listed, dense = provnet.trace(CASES["by a factor"][1], x), provnet.trace(lambda x: x @ (-2 * matrix), x)
    for semiring in ("real", "viterbi", "tropical"):
        found = listed.evaluate(semiring, 2).inputs
        torch.testing.assert_close(found, dense.evaluate(semiring, 2).inputs)


def test_an_index_may_take_some_entries_only() -> None:
    x = seeded(75, 3, 5)
    some = provnet.trace(lambda x: zeros(x, 4).scatter_add(1, TO[:3].expand(3, 3), x), x)
    cut = provnet.trace(lambda x: zeros(x, 4).scatter_add(1, TO[:3].expand(3, 3), x[:, :3]), x)
    assert torch.equal(some.evaluate("real", 2).inputs, cut.evaluate("real", 2).inputs)


def test_it_is_saved(tmp_path: Path) -> None:
    circuit = provnet.trace(CASES["into itself"][1], seeded(73, 3, 5))
    provnet.save(circuit, tmp_path / "circuit")
    again = provnet.load(tmp_path / "circuit")
    assert isinstance(again, provnet.Circuit)
    assert torch.equal(again.evaluate("real", 2).inputs, circuit.evaluate("real", 2).inputs)


@pytest.mark.guarantee("entries that are added to another example's are refused, as are sums that examples differ in")
@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (
            lambda x: torch.zeros_like(x).index_add(0, torch.tensor([1, 0, 2]), x),
            CrossExampleError,
            "example",
        ),
        (
            lambda x: torch.zeros_like(x).scatter_reduce(1, TO.expand(3, 5), x, "prod"),
            MissingRuleError,
            "reduction by 'prod'",
        ),
        (
            lambda x: x.scatter_reduce(1, TO.expand(3, 5), x.sin(), "sum", include_self=False),
            MissingRuleError,
            "leaves out entries",
        ),
    ],
    ids=["other examples", "products", "itself left out"],
)
def test_refusals(function: Callable[[Tensor], Tensor], error: type[Exception], words: str) -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    with pytest.raises(error, match=words):
        provnet.trace(Net(), seeded(74, 3, 5))
    whole = provnet.trace(nn.Sequential(Net()), seeded(74, 3, 5), opaque={"0": "identity"})
    assert whole.evaluate("real", 0).inputs.shape == (3, 5)
