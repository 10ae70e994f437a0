"""Counts never wrap: a bound is checked before each block, and a count that may not fit is refused."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.errors import CountOverflowError

LARGEST = 2**63 - 1
EXACT_FLOAT = 2.0**53


def reach(block: Block) -> int:
    """Return a bound of the number of edges that leave one neuron of the block's inputs, its bias neuron included."""
    wiring = block.wiring
    if block.bias is not None or wiring.taps is None:
        return wiring.outputs
    return min(wiring.outputs, wiring.channels * wiring.taps)  # slots of one tap meet a neuron once a channel


def largest(relevance: Tensor) -> int:
    """Return the largest count, 0 of none."""
    return int(relevance.max()) if relevance.numel() else 0


def check_block(block: Block, relevance: Tensor, in_float: Callable[[Tensor], float]) -> None:
    """Raise `CountOverflowError` if a sum of int64 counts in this block may exceed 2^63 - 1.

    First by the bound max R times the edges of one neuron. Where that fails, `in_float` pulls the same relevance in
    float64 (relative error below 1e-9 here) and gives the largest true sum, which decides.
    """
    if relevance.dtype != torch.int64 or largest(relevance) * reach(block) <= LARGEST:
        return
    if in_float(relevance.to(torch.float64)) >= 0.999 * 2.0**63:
        raise refusal(block.path, block.op)


def check_sum(path: str, x: Tensor, y: Tensor) -> None:
    """Raise `CountOverflowError` if the int64 counts x ⊕ y may wrap where branches meet at the tensor `path`."""
    if x.dtype == torch.int64 and largest(x) + largest(y) > LARGEST:
        raise refusal(path, "⊕ of branches")


def refusal(path: str, op: str) -> CountOverflowError:
    """Return the error for a count that does not fit."""
    return CountOverflowError(
        f"a count of paths at {path!r} ({op}) exceeds int64 (2^63 - 1). Ways out: Counting(overflow='exact') for exact "
        "Python integers, Counting(overflow='float64') for float64 counts (the result says whether they are exact), or a "
        "higher threshold, which leaves fewer paths."
    )
