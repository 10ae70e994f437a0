"""The widest path: every threshold in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import register
from provnet.semirings.ordered import MaxSemiring


@register("bottleneck")
class Bottleneck(MaxSemiring):
    """([-inf, inf], max, min, -inf, inf): the largest θ at which a path of edges with d >= θ reaches the target.

    x -> [x >= θ] is a homomorphism to the Booleans, so one pass answers every threshold. Carrier: all floats but NaN;
    with an integer dtype (on gates, with given values), all integers of it, its ends for the infinities. Source:
    Pollack 1960, The maximum capacity through a network.
    """

    zero: float | int = float("-inf")
    one: float | int = float("inf")
    scalar = ("max(x, y)", "min(x, y)")
    absorptive = times_idempotent = True
    annotation = "identity"  # an undefined d becomes zero, -inf
    question = "Up to which threshold θ is there a path on which every coefficient is at least θ?"
    examples = (-3.0, 0.0, 2.0, 5.0)

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        if dtype is not None and not dtype.is_floating_point:
            self.zero, self.one = torch.iinfo(dtype).min, torch.iinfo(dtype).max

    def star(self, x: Tensor) -> Tensor:
        """Return the semiring's one: the empty path has no weakest edge."""
        return torch.full_like(x, self.one)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the Goedel implication: one where y <= x, else x."""
        return torch.where(y <= x, torch.full_like(x, self.one), x)
