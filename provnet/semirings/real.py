"""The reals: classical LRP."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import NonFiniteError
from provnet.semirings.base import FINITE, Semiring, register


@register("real")
class Real(Semiring):
    """(R, +, *, 0, 1): the share of the relevance, signs cancelling; classical LRP. Source: GSM25 eq. 3, Bach15.

    Carrier: finite numbers; inf * 0 is NaN, so an infinite annotation breaks "zero annihilates". Float sums round, so
    the laws hold exactly only where nothing is rounded.
    """

    zero, one = 0.0, 1.0
    bounds = (-FINITE, FINITE)
    scalar = ("x + y", "x * y")
    differentiable = True
    ring = True
    annotation = "identity"
    question = "Which share of the target does a neuron hold, once supporting and opposing paths have cancelled?"
    examples = (-1.0, 2.0, 0.5, -4.0)

    def star(self, x: Tensor) -> Tensor:
        """Return 1 / (1 - x), the sum of the geometric series. Raises `NonFiniteError` where |x| >= 1: it diverges."""
        if bool((x.abs() >= 1).any()):
            raise NonFiniteError("the star of a real number with |x| >= 1 diverges. Scale the cycle's weight below 1.")
        return 1 / (1 - x)

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x - y: a ring has true differences."""
        return x - y

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x / y, the r with y * r = x. Raises `NonFiniteError` where y = 0: no r, or any."""
        if bool((y == 0).any()):
            raise NonFiniteError("a real residual by 0 does not exist. Mask the zeros of the divisor first.")
        return torch.div(x, y)
