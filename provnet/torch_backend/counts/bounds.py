"""Counts never wrap: a bound is checked before each block, and a count that may not fit is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from math import prod

import torch
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.errors import CountOverflowError
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.annotations.seed import Seed
from provnet.semirings.base import Semiring
from provnet.semirings.channels import ChannelSemiring
from provnet.semirings.product import Product

LARGEST = 2**63 - 1
EXACT_FLOAT = 2.0**53


def reach(block: Block) -> int:
    """Return a bound of the number of edges that leave one neuron of the block's inputs, its bias neuron included."""
    wiring = block.wiring
    if block.bias is not None or wiring.taps is None:
        return wiring.outputs
    return min(wiring.outputs, wiring.channels * wiring.taps)  # slots of one tap meet a neuron once a channel


def counts(semiring: Semiring, x: Tensor) -> list[Tensor]:
    """Return the parts of elements that are int64 counts, which may wrap: not Bitset64's, Security's or residues."""
    if not semiring.wraps or x.dtype != torch.int64:
        return []
    if isinstance(semiring, Product):
        parts = zip(semiring.components, semiring.split(x), strict=True)
        return [found for component, part in parts for found in counts(component, part)]
    return [x]


def largest(x: Tensor) -> int:
    """Return the largest count, 0 of none."""
    return int(x.max()) if x.numel() else 0


def in_floats(semiring: Semiring) -> Semiring:
    """Return the semiring with its int64 counts held in float64, which do not wrap."""
    found = copy(semiring)
    found.dtype = torch.float64
    if isinstance(found, ChannelSemiring):
        found.base = in_floats(found.base)
    return found


def at_most_one(annotation: Annotation) -> bool:
    """Return whether no edge is worth more than one path."""
    inner = getattr(annotation, "inner", None)
    if inner is None:
        return annotation.form == "threshold" or isinstance(annotation, Seed)
    return all(map(at_most_one, inner if isinstance(inner, tuple) else (inner,)))


def check_block(
    block: Block, semiring: Semiring, annotation: Annotation, relevance: Tensor, in_float: Callable[[Tensor], float]
) -> None:
    """Raise `CountOverflowError` if a sum of int64 counts in this block may exceed 2^63 - 1.

    First, where no edge is worth more than one, by the bound max R times the edges of one neuron. Where that fails,
    `in_float` pulls the same relevance in float64 (relative error below 1e-9 here) and gives the largest true sum,
    which decides; a product's components are not pulled apart, so there the bound does.
    """
    found = counts(semiring, relevance)
    if not found:
        return
    channels = prod(semiring.element_shape)  # a product of two rows sums so many products at most
    if at_most_one(annotation) and max(map(largest, found)) * reach(block) * channels <= LARGEST:
        return
    if isinstance(semiring, Product) or in_float(relevance.to(torch.float64)) >= 0.999 * 2.0**63:
        raise refusal(block.path, block.op)


def check_sum(path: str, semiring: Semiring, x: Tensor, y: Tensor) -> None:
    """Raise `CountOverflowError` if the int64 counts x ⊕ y may wrap where branches meet at the tensor `path`."""
    for one, other in zip(counts(semiring, x), counts(semiring, y), strict=True):
        if largest(one) + largest(other) > LARGEST:
            raise refusal(path, "⊕ of branches")


def check_total(block: Block, semiring: Semiring, operands: Sequence[Tensor]) -> None:
    """Raise `CountOverflowError` if the total of int64 counts over all operands' neurons exceeds 2^63 - 1."""
    for parts in zip(*(counts(semiring, x) for x in operands), strict=True):
        totals = [part.to(torch.float64).sum(1) for part in parts if part.numel()]
        if totals and float(torch.stack(totals).sum(0).max()) >= 0.999 * 2.0**63:
            raise refusal(f"{block.path}, all neurons together", block.op)


def refusal(path: str, op: str) -> CountOverflowError:
    """Return the error for a count that does not fit."""
    return CountOverflowError(
        f"a count of paths at {path!r} ({op}) exceeds int64 (2^63 - 1). Ways out: exact=True, or "
        "Counting(overflow='exact'), for exact Python integers; Counting(overflow='float64') for float64 counts (the "
        "result says whether they are exact), Counting(overflow='promote') for these only where they are needed; or a "
        "higher threshold, which leaves fewer paths."
    )
