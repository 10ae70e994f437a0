"""Counts never wrap, wherever they are held; what is int64 and no count is not mistaken for one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import annotations, semirings
from provnet.errors import CountOverflowError
from provnet.semirings.annotations.base import Annotation, Edges
from provnet.semirings.base import Semiring
from provnet.semirings.counting import Counting

EVERY = annotations.Threshold(-1e30)


def wide(depth: int, width: int = 64) -> provnet.Circuit:
    """Return the circuit of `depth` dense layers of `width` neurons: width^(depth - 1) paths from an input."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth))).double()
    for layer in model:
        nn.init.constant_(layer.weight, 1 / 64)  # type: ignore[union-attr,arg-type]
    return provnet.trace(model, torch.ones(1, width, dtype=torch.float64))


def counted() -> list[tuple[Semiring, Annotation | None]]:
    """Return semirings that hold int64 counts, each with an annotation function by which every edge is one path."""
    sums = semirings.make(torch.add, torch.mul, 0, 1, name="sums", dtype=torch.int64, annotation="threshold")
    each = annotations.Each(EVERY, EVERY)
    return [
        (Counting(), EVERY),
        (sums, EVERY),
        (semirings.Product("counting", "boolean"), each),
        (semirings.Graded("counting", 12), annotations.GradedElement(EVERY)),
        (semirings.Signed("counting"), annotations.SignedParts(EVERY)),
    ]


@pytest.mark.guarantee("a count that does not fit int64 is refused, in products, pairs and a user's own semiring too")
@pytest.mark.parametrize(("semiring", "theta"), counted(), ids=lambda x: x.name if isinstance(x, Semiring) else "")
def test_a_count_above_2_to_the_63_is_refused(semiring: Semiring, theta: Annotation):
    fits = wide(9).evaluate(semiring, target=0, annotation=theta).inputs
    assert int(fits.max()) == 64**8
    with pytest.raises(CountOverflowError, match="exceeds int64"):
        wide(12).evaluate(semiring, target=0, annotation=theta)


class Five(Annotation):
    """Every edge stands for five paths."""

    name = "five"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return torch.full_like(edges.d, 5.0).to(dtype)


def test_edges_that_are_worth_more_than_one_path_are_reckoned_with():
    """Five^depth paths through a chain: with one edge a neuron the bound by edges alone never grows."""
    chain = wide(27, width=1)
    assert int(chain.evaluate("counting", target=0, annotation=Five()).inputs) == 5**27
    with pytest.raises(CountOverflowError):
        wide(28, width=1).evaluate("counting", target=0, annotation=Five())


def test_bits_and_costs_in_int64_are_no_counts():
    """All ones is -1 as a number, and a mask of high bits is near 2^63: neither may be taken for a count."""
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double().eval()
    circuit = provnet.trace(lambda x: model(x) + model(x), torch.rand(2, 6, dtype=torch.float64))
    thetas = [0.001 * 2**i for i in range(8)] + [-1e30] * 55 + [1e30]
    bits = circuit.evaluate("bitset64", target=0, annotation=annotations.Thresholds(thetas)).inputs
    worlds = semirings.Bitset64().unpack(bits)
    for i in (0, 3, 7, 20, 63):
        one = circuit.evaluate("boolean", target=0, annotation=annotations.Threshold(thetas[i])).inputs
        assert torch.equal(worlds[..., i], one)
    far = 2**61
    cost = semirings.make(
        torch.minimum,
        lambda x, y: (x + y).clamp(max=far),
        far,
        0,
        name="hops",
        dtype=torch.int64,
        annotation="threshold",
    )
    hops = circuit.evaluate(cost, target=0, annotation=EVERY).inputs
    assert hops.min() >= 0


@pytest.mark.guarantee("a count that does not fit int64 is refused on explicit gates too")
def test_gates_refuse_a_count_that_does_not_fit():
    circuit = wide(4, width=3)
    gates = circuit.gates(target=0, at=("input", 0))
    ones = torch.ones(len(gates.variables), dtype=torch.int64)
    assert gates.evaluate("counting", ones).tensor.tolist() == [27]
    with pytest.raises(CountOverflowError, match=r"input\[0\]"):
        gates.evaluate("counting", ones * 2**40)
    graded = semirings.Graded("counting", 4)
    wide_ones = torch.zeros(len(gates.variables), 5, dtype=torch.int64)
    wide_ones[:, 1] = 2**40
    with pytest.raises(CountOverflowError):
        gates.evaluate(graded, wide_ones)


def test_exact_counts_on_gates_are_whole_numbers_of_the_size_they_need():
    gates = wide(4, width=3).gates(target=0, at=("input", 0))
    found = gates.evaluate(Counting("exact"), annotation=EVERY)
    assert found["input[0]"] == 27
    assert isinstance(found["input[0]"], int)


def test_exact_counts_are_sized_by_totals_and_by_where_branches_meet():
    """Thirty branches meet at every layer, so a tensor's count is far above what any one block passes back."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(30))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(4):
                total = x.new_zeros(())
                for one in self.each:
                    total = total + one(x)
                x = total
            return x

    circuit = provnet.trace(Branches().double().eval(), torch.rand(1, 4, dtype=torch.float64))
    found = circuit.evaluate(Counting("exact"), target=0, annotation=EVERY)
    assert found.inputs.tolist() == [[30 * 120**3] * 4]
    report = found.conservation()
    assert report.inputs.tolist() == [4.0 * 30 * 120**3]  # decoded, not a residue


def test_a_report_does_not_wrap_where_single_counts_still_fit():
    """64^10 = 2^60 paths an input fit; all 64 inputs together do not."""
    found = wide(11).evaluate("counting", target=0, annotation=EVERY)
    assert int(found.inputs.max()) == 2**60
    with pytest.raises(CountOverflowError, match="all neurons together"):
        found.conservation()
