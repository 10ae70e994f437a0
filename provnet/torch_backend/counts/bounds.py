"""Counts never wrap: a bound is checked before each block, and a count that may not fit is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.errors import CountOverflowError, DTypeError
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.annotations.seed import Seed
from provnet.semirings.base import Semiring

LARGEST = 2**63 - 1
EXACT_FLOAT = 2.0**53

InFloat = Callable[[Semiring, Annotation, Tensor], float]
"""The largest sum of counts that a block passes back, in a semiring that holds them in float64, under Θ."""


def reach(block: Block) -> int:
    """Return a bound of the number of edges that leave one neuron of the block's inputs, its bias neuron included."""
    wiring = block.wiring
    if block.bias is not None or wiring.taps is None:
        return wiring.outputs
    return min(wiring.outputs, wiring.channels * wiring.taps)  # slots of one tap meet a neuron once a channel


def counts(semiring: Semiring, x: Tensor) -> list[Tensor]:
    """Return the parts of elements that are int64 counts, which may wrap: not Bitset64's, Security's or residues."""
    return [part for one, _, (part,) in semiring.parts(None, x) if one.wraps and part.dtype == torch.int64]


def rounded_counts(semiring: Semiring, x: Tensor) -> list[Tensor]:
    """Return the parts of elements that are counts in floats, which are rounded where they are large."""
    return [part for one, _, (part,) in semiring.parts(None, x) if one.counts and part.is_floating_point()]


def largest(x: Tensor) -> int:
    """Return the largest count, 0 of none."""
    return int(x.max()) if x.numel() else 0


def at_most_one(annotation: Annotation) -> bool:
    """Return whether no edge is worth more than one path."""
    inner = getattr(annotation, "inner", None)
    if inner is None:
        return annotation.form == "threshold" or isinstance(annotation, Seed)
    return all(map(at_most_one, inner if isinstance(inner, tuple) else (inner,)))


def check_block(block: Block, semiring: Semiring, annotation: Annotation, relevance: Tensor, in_float: InFloat) -> None:
    """Raise `CountOverflowError` if a sum of int64 counts in this block may exceed 2^63 - 1.

    First, where no edge is worth more than one, by the bound max R times the edges of one neuron. Where that fails,
    `in_float` pulls the same relevance in float64 (relative error below 1e-9 here) and gives the largest true sum,
    which decides. The components of a product are looked at one by one.
    """
    for part, theta, (r,) in semiring.parts(annotation, relevance):
        if not part.wraps or r.dtype != torch.int64:
            continue
        channels = prod(part.element_shape)  # a product of two rows sums so many products at most
        if at_most_one(theta) and largest(r) * reach(block) * channels <= LARGEST:
            continue
        try:
            fits = in_float(part.held("float64"), theta, r.to(torch.float64)) < 0.999 * 2.0**63
        except DTypeError:  # a product under a function of whole rows, with no dtype for counts in floats
            fits = False
        if not fits:
            raise refusal(block.path, block.op)


def check_sum(path: str, semiring: Semiring, x: Tensor, y: Tensor) -> None:
    """Raise `CountOverflowError` if the int64 counts x ⊕ y may wrap where branches meet at the tensor `path`."""
    for one, other in zip(counts(semiring, x), counts(semiring, y), strict=True):
        if largest(one) + largest(other) > LARGEST:
            raise refusal(path, "⊕ of branches")


def check_total(where: str, op: str, semiring: Semiring, operands: Sequence[Tensor], dim: int = 1) -> None:
    """Raise `CountOverflowError` if int64 counts, ⊕-ed along an axis of all operands, exceed 2^63 - 1."""
    for parts in zip(*(counts(semiring, x) for x in operands), strict=True):
        totals = [part.to(torch.float64).sum(dim) for part in parts if part.numel()]
        if totals and float(torch.stack(totals).sum(0).max()) >= 0.999 * 2.0**63:
            raise refusal(where, op)


def refusal(path: str, op: str) -> CountOverflowError:
    """Return the error for a count that does not fit."""
    return CountOverflowError(
        f"a count of paths at {path!r} ({op}) exceeds int64 (2^63 - 1). Ways out: exact=True, or "
        "Counting(overflow='exact'), for exact Python integers; Counting(overflow='float64') for float64 counts (the "
        "result says whether they are exact), Counting(overflow='promote') for these only where they are needed; or a "
        "higher threshold, which leaves fewer paths."
    )
