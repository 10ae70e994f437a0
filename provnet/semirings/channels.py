"""Elements wider than one number: several elements of a base semiring side by side, on one trailing axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.semirings.base import Semiring


class ChannelSemiring(Semiring):
    """The base of semirings whose element is a row of `channels` elements of `base`, added channel by channel."""

    def __init__(self, base: Semiring, channels: int) -> None:
        self.base = base
        self.channels = channels
        self.element_shape = (channels, *base.element_shape)
        self.dtype = base.dtype
        self.exact, self.wraps = base.exact, base.wraps
        for flag in ("commutative", "ring", "idempotent", "naturally_ordered"):  # those that pass on channel by channel
            setattr(self, flag, getattr(base, flag))

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
