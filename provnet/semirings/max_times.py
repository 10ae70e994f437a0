"""Best paths by products of coefficients that may exceed one."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import NonFiniteError
from provnet.semirings.base import FINITE, register
from provnet.semirings.ordered import MaxSemiring


@register("max-times")
class MaxTimes(MaxSemiring):
    """(R>=0, max, *, 0, 1): the path of largest |product of coefficients|. Source: Du23 section 3.

    Carrier: finite numbers from 0; inf * 0 is NaN. Not absorptive: max(1, 2) is 2.
    """

    zero, one = 0.0, 1.0
    bounds = (0.0, FINITE)
    scalar = ("max(x, y)", "x * y")
    annotation = "absolute"
    question = "How large, in absolute value, is the largest product of coefficients along one path?"
    examples = (0.5, 2.0, 4.0)

    def star(self, x: Tensor) -> Tensor:
        """Return 1. Raises `NonFiniteError` where x > 1: going round the cycle always helps."""
        if bool((x > 1).any()):
            raise NonFiniteError(
                "the star of a number > 1 diverges in max-times. Scale the cycle's weight to 1 or less."
            )
        return torch.ones_like(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x / y. Raises `NonFiniteError` where y = 0: none is the largest."""
        if bool((y == 0).any()):
            raise NonFiniteError("a residual by 0 does not exist without an infinity. Mask the divisor's zeros first.")
        return torch.div(x, y)
