"""Best paths by sums of scores."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import NonFiniteError
from provnet.semirings.base import FINITE, register
from provnet.semirings.ordered import MaxSemiring


@register("arctic")
class Arctic(MaxSemiring):
    """([-inf, inf), max, +, -inf, 0): the path of largest total score, MaxTimes by logarithms. Source: Du23.

    Carrier: floats below +inf; -inf + inf is NaN. Not absorptive: max(0, 1) is 1.
    """

    zero, one = float("-inf"), 0.0
    bounds = (float("-inf"), FINITE)
    scalar = ("max(x, y)", "x + y")
    annotation = "log-absolute"
    question = "What is the logarithm of the largest product of coefficients, in absolute value, along one path?"
    examples = (1.0, -2.0, 5.0)

    def star(self, x: Tensor) -> Tensor:
        """Return 0. Raises `NonFiniteError` where x > 0: going round the cycle always helps."""
        if bool((x > 0).any()):
            raise NonFiniteError("the star of a positive score diverges. Give cycles scores of 0 or less.")
        return torch.zeros_like(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x - y. Raises `NonFiniteError` where y = -inf: none is the largest."""
        if bool((y == self.zero).any()):
            raise NonFiniteError("a residual by the zero -inf does not exist. Mask the divisor's zeros first.")
        return x - y
