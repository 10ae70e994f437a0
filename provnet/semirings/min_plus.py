"""Cheapest paths, where a step may also pay."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import NonFiniteError
from provnet.semirings.base import FINITE, register
from provnet.semirings.ordered import MinSemiring


@register("min-plus")
class MinPlus(MinSemiring):
    """((-inf, inf], min, +, inf, 0): the cheapest path, negative costs allowed. Source: Mohri 2002.

    Carrier: floats above -inf; inf + -inf is NaN. Not absorptive: min(0, -1) is -1.
    """

    zero, one = float("inf"), 0.0
    bounds = (-FINITE, float("inf"))
    scalar = ("min(x, y)", "x + y")
    annotation = "cost"
    question = "How much does the cheapest path cost, if an edge costs -log |d|, so that one with |d| > 1 pays?"
    examples = (1.0, -2.0, 5.0)

    def star(self, x: Tensor) -> Tensor:
        """Return 0. Raises `NonFiniteError` where x < 0: going round the cycle always helps."""
        if bool((x < 0).any()):
            raise NonFiniteError("the star of a negative cost diverges. Give cycles costs of 0 or more.")
        return torch.zeros_like(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x - y. Raises `NonFiniteError` where y = inf: none is the largest."""
        if bool((y == self.zero).any()):
            raise NonFiniteError("a residual by the zero inf does not exist. Mask the divisor's zeros first.")
        return x - y
