"""The Booleans: reachability."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import Semiring, register


@register("boolean")
class Boolean(Semiring):
    """({0, 1}, or, and, 0, 1): whether a path reaches the target over passing edges. Source: GKT07 section 3."""

    zero, one = False, True
    dtype = torch.bool
    idempotent = absorptive = times_idempotent = naturally_ordered = selective = True
    annotation = "threshold"
    question = "Is there a path to the target on which every coefficient is at least θ?"
    family = "or-and"

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return x | y

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return x & y

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Fold with or, [.., n, ..] -> [.., ..]; False over nothing."""
        if x.shape[dim] == 0 or x.dtype != torch.bool:
            return super().sum(x, dim)
        # `any` does not vectorise: over the first of [200, 100000] it takes 4.8 ms, `amax` of the same bytes 0.4 ms.
        return x.view(torch.uint8).amax(dim).view(torch.bool)

    def star(self, x: Tensor) -> Tensor:
        """Return True: the empty path is always there."""
        return torch.ones_like(x)

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x and not y."""
        return x & ~y

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the implication y -> x."""
        return ~y | x
