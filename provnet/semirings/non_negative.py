"""The reals without signs: path mass that cannot cancel."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import NonFiniteError
from provnet.semirings.base import FINITE, Semiring, register


@register("non-negative")
class NonNegative(Semiring):
    """(R>=0, +, *, 0, 1): the mass of all paths, nothing cancelling. Source: GKT07 section 3 (N, extended to reals).

    Carrier: finite numbers from 0; inf * 0 is NaN.
    """

    zero, one = 0.0, 1.0
    bounds = (0.0, FINITE)
    scalar = ("x + y", "x * y")
    differentiable = True
    naturally_ordered = True
    annotation = "positive"
    question = "How much supporting relevance reaches a neuron over all paths, if no opposing edge may be used?"
    examples = (2.0, 0.5, 4.0, 0.25)

    def star(self, x: Tensor) -> Tensor:
        """Return 1 / (1 - x), the sum of the geometric series. Raises `NonFiniteError` where x >= 1: it diverges."""
        if bool((x >= 1).any()):
            raise NonFiniteError("the star of a number >= 1 diverges. Scale the cycle's weight below 1.")
        return 1 / (1 - x)

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return max(x - y, 0)."""
        return (x - y).clamp(min=0)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x / y. Raises `NonFiniteError` where y = 0: every r has y * r <= x, and none is the largest."""
        if bool((y == 0).any()):
            raise NonFiniteError("a residual by 0 does not exist without an infinity. Mask the divisor's zeros first.")
        return torch.div(x, y)
