"""The non-negative reals by their logarithms."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import NonFiniteError
from provnet.semirings.base import FINITE, Semiring, register


@register("log")
class Log(Semiring):
    """([-inf, inf), logaddexp, +, -inf, 0): NonNegative by logarithms, so that long products do not underflow.

    Carrier: floats below +inf; -inf + inf is NaN. The laws hold up to the rounding of exp and log.
    Source: Goodman 1999, Semiring Parsing (the inside semiring, in logs).
    """

    zero, one = float("-inf"), 0.0
    bounds = (float("-inf"), FINITE)
    family = "logsum-plus"
    differentiable = True
    naturally_ordered = True
    annotation = "log-positive"
    question = "How much supporting relevance reaches a neuron, as a logarithm, which long paths do not underflow?"
    exact = False
    examples = (-1.0, 2.0, -3.0)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        if not (x.requires_grad or y.requires_grad):
            return torch.logaddexp(x, y)
        return self.sum(torch.stack(torch.broadcast_tensors(x, y)), 0)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Fold with logaddexp, [.., n, ..] -> [.., ..], shifted by the maximum; -inf over nothing.

        Where all are -inf, the sum is a constant for autograd, whose own derivative there is NaN.
        """
        if not x.shape[dim]:
            return super().sum(x, dim)
        if not x.requires_grad:
            return torch.logsumexp(x, dim)
        nothing = (x == self.zero).all(dim, keepdim=True)
        found = torch.logsumexp(torch.where(nothing, torch.zeros_like(x), x), dim)
        return torch.where(nothing.squeeze(dim), self.full((), self.zero, x), found)

    def star(self, x: Tensor) -> Tensor:
        """Return -log(1 - exp(x)). Raises `NonFiniteError` where x >= 0: the series diverges."""
        if bool((x >= 0).any()):
            raise NonFiniteError("the star of a logarithm >= 0 diverges. Scale the cycle's weight below 1.")
        return -torch.log1p(-x.exp())

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log(exp(x) - exp(y)) where x > y, else -inf."""
        above = x > y
        gap = torch.where(above, y - x, torch.full_like(x, -1.0))  # where x is not above, y - x may be NaN
        return torch.where(above, x + torch.log(-torch.expm1(gap)), self.full((), self.zero, x))

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x - y. Raises `NonFiniteError` where y = -inf: none is the largest."""
        if bool((y == self.zero).any()):
            raise NonFiniteError("a residual by the zero -inf does not exist. Mask the divisor's zeros first.")
        return x - y
