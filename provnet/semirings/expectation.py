"""Expectations over paths: entropy, mean length."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import Semiring, register
from provnet.semirings.channels import ChannelSemiring
from provnet.semirings.lookup import get


@register("expectation")
class Expectation(ChannelSemiring):
    """Pairs (p, r) over S; (p, r) + (p', r') = (p + p', r + r'), (p, r) * (p', r') = (pp', pr' + rp').

    With an edge's (d, d * f), the value is (sum of the paths' products, sum of product * total f): with f = -log |d|
    the entropy of paths, with f = 1 their mean length times the mass. Carrier: pairs of elements of the base; float64
    over floats, for r grows. Source: Li and Eisner 2009, First- and Second-Order Expectation Semirings; Du23 section 3.
    """

    annotation = "expectation"
    question = "How widely is the relevance spread over paths: what is their entropy, or their mean length?"

    def __init__(self, base: str | Semiring = "real") -> None:
        super().__init__(get(base), channels=2)
        self.dtype = self.base.dtype or torch.float64
        # Over log, -inf would meet its own differences. A subclass with another product says for itself.
        plain = self.base.family == "sum-product" and type(self).times is Expectation.times
        self.differentiable = plain and self.base.differentiable
        self.zero, self.one = self.row(), self.row(self.base.one)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        times = self.base.times
        (p, r), (q, s) = self.split(x), self.split(y)
        return self.join([times(p, q), self.base.plus(times(p, s), times(r, q))])

    def __repr__(self) -> str:
        return f"Expectation({self.base!r})"
