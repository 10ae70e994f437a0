"""Elements wider than one number: several elements of a base semiring side by side, on one trailing axis."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.semirings.base import Overflow, Semiring


class ChannelSemiring(Semiring):
    """The base of semirings whose element is a row of `channels` elements of `base`, added channel by channel."""

    def __init__(self, base: Semiring, channels: int) -> None:
        self.channels = channels
        self.exact = base.exact
        self._hold(base)
        for flag in ("commutative", "ring", "idempotent", "naturally_ordered"):  # those that pass on channel by channel
            setattr(self, flag, getattr(base, flag))

    def _hold(self, base: Semiring) -> None:
        self.base = base
        self.element_shape = (self.channels, *base.element_shape)
        self.dtype, self.wraps = base.dtype, base.wraps
        self.counts, self.residues = base.counts, base.residues

    def over(self, base: Semiring) -> Self:
        """Return this semiring with the counts of its base held as they are in `base`, which is otherwise the same."""
        if base is self.base:
            return self
        found = copy(self)
        found._hold(base)
        found.naturally_ordered = self.naturally_ordered and base.naturally_ordered
        # Zero and one are the same modulo every prime.
        ends = [e.select(-1, 0) if self.residues else e for e in map(torch.as_tensor, (self.zero, self.one))]
        residues = (base.element_shape[-1],) if base.residues else ()
        like = torch.empty((), dtype=base.element_dtype(torch.float64))
        found.zero, found.one = (
            e.to(like.dtype)[(...,) + (None,) * len(residues)].expand(*e.shape, *residues) for e in ends
        )
        return found

    @property
    def largest(self) -> int:
        return self.base.largest

    def ladder(self) -> tuple[Semiring, ...]:
        return tuple(self.over(base) for base in self.base.ladder())

    def held(self, overflow: Overflow) -> Self:
        return self.over(self.base.held(overflow))

    def with_primes(self, bits: int) -> Self:
        return self.over(self.base.with_primes(bits))

    def encode(self, whole: Tensor) -> Tensor:
        return self.base.encode(whole)

    def decode(self, elements: Tensor) -> NDArray[Any]:
        return self.base.decode(elements)

    def row(self, *parts: float | int | bool | Tensor) -> Tensor:
        """Return one element with the given first channels, the others zero."""
        like = torch.empty((), dtype=self.base.element_dtype(torch.float64))
        padded = [*parts, *[self.base.zero] * (self.channels - len(parts))]
        return torch.stack([self.base.full((), part, like) for part in padded])

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the channels of elements [..., channels, *base], each [..., *base]."""
        return x.unbind(x.dim() - len(self.element_shape))

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return elements from their channels, the inverse of `split`."""
        return torch.stack(list(parts), dim=parts[0].dim() - len(self.base.element_shape))

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self.base.plus(x, y)

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Fold with plus, channel by channel, [.., n, .., channels] -> [.., .., channels]."""
        return self.join([self.base.sum(part, dim) for part in self.split(x)])

    def outside(self, x: Tensor) -> str | None:
        return self.base.outside(x)

    def exact_values(self, floating: torch.dtype = torch.float64) -> Tensor:
        """Return zero, one, and rows of the base's exact values, some sparse, some full."""
        dtype = self.element_dtype(floating)
        base = self.base.exact_values(floating)[:5]
        like = torch.empty((), dtype=dtype)
        ends = [self.full((1,), self.zero, like), self.full((1,), self.one, like)]
        full = [torch.stack([base[(i + j) % len(base)] for j in range(self.channels)]) for i in range(len(base))]
        sparse = [self.row(*[self.base.zero] * at, base[-1]).to(dtype) for at in range(min(self.channels, 3))]
        return torch.cat([*ends, torch.stack([*full, *sparse])])
