"""What best products ask of all outputs and of all inputs, in one pass over each: by torch, and compiled on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.torch_backend.contractions.numba_source import best_kernels
from provnet.torch_backend.contractions.workers import run

PIECE = 1 << 15
"""Numbers of an example that a worker takes at a time."""


@dataclass(frozen=True, eq=False)
class BestShares:
    """What the outputs [batch, outputs] hand to their edges.

    share    height / largest contribution where an output is reached and that is not 0, and 0 elsewhere; where either
             is below `small`, 0 too: they are hidden
    alive    where the share is not 0
    most     the greatest share, [batch, 1].   least   the least one of all that is not 0; inf: there is none
    unseen   the greatest height of what is hidden, [batch, 1], None: nothing is
    silent   whether some output is reached whose contributions are all 0
    """

    share: Tensor
    alive: Tensor
    most: Tensor
    least: float
    unseen: Tensor | None
    silent: bool


@dataclass(frozen=True, eq=False)
class Products:
    """|a| times the columns, [batch, inputs], at most the ceiling.

    faint    whether some product is below `least`, or its column below `small`, though neither a nor the column is 0
    empty    whether there is such a product whose column is 0
    """

    products: Tensor
    faint: bool
    empty: bool


def shares(largest: Tensor, height: Tensor, reached: Tensor, small: float, compiled: bool) -> BestShares | None:
    """Return what the outputs hand on, None where a largest contribution is no finite number."""
    serves = compiled and largest.numel() > 0 and height.dtype == largest.dtype
    return (_shares_compiled if serves else shares_by_torch)(largest, height, reached, small)


def shares_by_torch(largest: Tensor, height: Tensor, reached: Tensor, small: float) -> BestShares | None:
    """Return the same on any device."""
    if largest.numel() and not bool(torch.isfinite(largest.amax())):
        return None
    silent = reached & (largest == 0)
    reached = reached & (largest > 0)
    share = torch.where(reached, height / largest, 0.0)
    hidden, unseen = reached & ((largest < small) | (share < small)), None
    if bool(hidden.any()):
        unseen = torch.where(hidden, height, 0.0).amax(1, keepdim=True)
        share = share.masked_fill_(hidden, 0)
    alive = share != 0
    least = float(torch.where(alive, share, inf).amin()) if share.numel() else inf
    return BestShares(share, alive, share.amax(1, keepdim=True), least, unseen, bool(silent.any()))


def products(
    a: Tensor, columns: Tensor, least: Tensor, small: float, ceiling: float, compiled: bool
) -> Products | None:
    """Return what the inputs get, with `least` [batch, 1]; None where a product is no finite number."""
    serves = compiled and columns.numel() > 0 and a.dtype == columns.dtype == least.dtype
    return (_products_compiled if serves else products_by_torch)(a, columns, least, small, ceiling)


def products_by_torch(a: Tensor, columns: Tensor, least: Tensor, small: float, ceiling: float) -> Products | None:
    """Return the same on any device."""
    found = a.abs() * columns
    if found.numel() and not bool(torch.isfinite(found.amax())):
        return None
    some = ((found < least) | (columns < small)) & (a != 0)
    none = columns == 0
    faint, empty = bool((some & ~none).any()), bool((some & none).any())
    return Products(found if ceiling == inf else found.clamp_(max=ceiling), faint, empty)


def _shares_compiled(largest: Tensor, height: Tensor, reached: Tensor, small: float) -> BestShares | None:
    cut = Cut(largest)
    share, alive = torch.empty(largest.shape, dtype=largest.dtype), torch.empty(largest.shape, dtype=torch.bool)
    limits = *cut.numbers(small, cut.limits.max), cut.whole.type(np.iinfo(cut.whole).max)
    read = cut.flat(reached).view(np.uint8), cut.flat(height), cut.flat(largest), *limits
    greatest, least, unseen, odd, hidden, silent = (*cut.ends(2, cut.whole), *cut.ends(1), *cut.ends(3, np.uint8))
    written = cut.flat(share), cut.flat(share).view(cut.whole), cut.flat(alive).view(np.uint8)
    cut.run(best_kernels().shares, *read, *written, greatest, least, unseen, odd, hidden, silent)
    if odd.any():
        return None
    hides = cut.of_example(unseen) if hidden.any() else None
    some = least[least < limits[-1]].view(cut.number)
    least_of_all = float(some.min()) if some.size else inf
    return BestShares(share, alive, cut.of_example(greatest.view(cut.number)), least_of_all, hides, bool(silent.any()))


def _products_compiled(a: Tensor, columns: Tensor, least: Tensor, small: float, ceiling: float) -> Products | None:
    cut = Cut(columns)
    into = torch.empty(columns.shape, dtype=columns.dtype)
    limits = cut.numbers(small, cut.limits.max, ceiling)
    greatest, odd, faint, empty = (*cut.ends(1, cut.whole), *cut.ends(3, np.uint8))
    written = cut.flat(into), cut.flat(into).view(cut.whole)
    read = cut.flat(a), cut.flat(columns), cut.flat(least)
    cut.run(best_kernels().products, *read, *limits, *written, greatest, odd, faint, empty)
    return None if odd.any() else Products(into, bool(faint.any()), bool(empty.any()))


class Cut:
    """Numbers [examples, size] cut into pieces for the workers: several of an example where there are few examples."""

    def __init__(self, x: Tensor) -> None:
        self.examples, self.size = x.shape
        self.pieces = 1 if self.examples >= 8 else -(-self.size // PIECE)
        self.step = -(-self.size // self.pieces)
        self.pieces = -(-self.size // self.step)
        self.units, self.limits = self.examples * self.pieces, torch.finfo(x.dtype)
        self.number = np.dtype(str(x.dtype).removeprefix("torch."))
        self.whole = np.dtype(f"i{self.number.itemsize}")

    def flat(self, x: Tensor) -> NDArray[Any]:
        """Return numbers one after the other."""
        return x.detach().contiguous().reshape(-1).numpy()

    def numbers(self, *x: float) -> tuple[Any, ...]:
        """Return limits as numbers of the type."""
        return tuple(self.number.type(each) for each in x)

    def ends(self, count: int, kind: Any = None) -> Iterator[NDArray[Any]]:
        """Yield room for a number of each unit, `count` times."""
        return (np.empty(self.units, self.number if kind is None else kind) for _ in range(count))

    def of_example(self, x: NDArray[Any]) -> Tensor:
        """Return the greatest number of each example's units, [examples, 1]."""
        return torch.from_numpy(x.reshape(self.examples, self.pieces).max(1, keepdims=True))

    def run(self, kernel: Callable[..., None], *given: Any) -> None:
        """Run a kernel over all units, in this thread and others."""
        alone = self.examples * self.size <= PIECE or torch.get_num_threads() == 1
        step = self.units if alone else max(1, -(-self.units // (4 * torch.get_num_threads())))
        spans = [(first, min(first + step, self.units)) for first in range(0, self.units, step)]
        cut = self.pieces, self.step, self.size
        run((lambda span=span: kernel(*span, *cut, *given) for span in spans), alone)
