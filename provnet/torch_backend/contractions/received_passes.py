"""What compiled edges ask of all outputs and of all inputs, in one pass over each: by torch, and compiled on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor

from provnet.torch_backend.blocks.extent import DivisorRange
from provnet.torch_backend.contractions.best_passes import Cut
from provnet.torch_backend.contractions.numba_source import best_kernels


@dataclass(frozen=True, eq=False)
class Received:
    """Which outputs take part.

    reached    relevance came, and the divisor is not 0, [batch, outputs]
    above      and it is more than 0
    ends       what the divisors lie between
    finite     whether every divisor is a finite number
    undefined  whether relevance came to an output whose divisor is 0
    """

    reached: Tensor
    above: Tensor
    ends: DivisorRange
    finite: bool
    undefined: bool


def received(below: Tensor, relevance: Tensor, zero: float, compiled: bool) -> Received:
    """Return which outputs take part, of their divisors and the relevance that came, [batch, outputs] each."""
    alike = below.dtype == relevance.dtype and below.shape == relevance.shape
    serves = compiled and below.numel() > 0 and alike
    return (_compiled if serves else received_by_torch)(below, relevance, zero)


def received_by_torch(below: Tensor, relevance: Tensor, zero: float) -> Received:
    """Return the same on any device."""
    came, defined = relevance != zero, below != 0
    reached, ends = came & defined, DivisorRange().with_piece(below)
    finite = bool(torch.isfinite(below.sum()))
    return Received(reached, reached & (relevance > 0), ends, finite, bool((came & ~defined).any()))


def _compiled(below: Tensor, relevance: Tensor, zero: float) -> Received:
    cut = Cut(below)
    reached, above = (torch.empty(below.shape, dtype=torch.bool) for _ in range(2))
    large = cut.whole.type(np.iinfo(cut.whole).max)
    least, greatest, odd, undefined, empty = (*cut.ends(2, cut.whole), *cut.ends(3, np.uint8))
    z = cut.flat(below)
    read = (z, z.view(cut.whole), cut.flat(relevance), *cut.numbers(zero, cut.limits.max), large)
    written = (cut.flat(x).view(np.uint8) for x in (reached, above))
    cut.run(best_kernels().received, *read, *written, least, greatest, odd, undefined, empty)
    some = least[least < large].view(cut.number)
    ends = DivisorRange(
        float(some.min()) if some.size else inf, float(greatest.view(cut.number).max()), bool(empty.any())
    )
    return Received(reached, above, ends, not odd.any(), bool(undefined.any()))


def some_unsure(found: Tensor, a: Tensor, floor: float, compiled: bool) -> bool:
    """Return whether some number is below 0, or at most `floor` though a is not 0, [batch, inputs] each."""
    if not (compiled and found.numel() > 0 and found.dtype == a.dtype):
        return bool(unsure(found, a, floor).any())
    cut = Cut(found)
    (told,) = cut.ends(1, np.uint8)
    cut.run(best_kernels().below_floor, cut.flat(found), cut.flat(a), *cut.numbers(floor), told)
    return bool(told.any())


def unsure(found: Tensor, a: Tensor, floor: float) -> Tensor:
    """Return where."""
    return (found < 0) | ((found <= floor) & (a != 0))
