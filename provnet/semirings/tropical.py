"""Best paths by sums of costs."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import register
from provnet.semirings.ordered import MinSemiring


@register("tropical")
class Tropical(MinSemiring):
    """([0, inf], min, +, inf, 0): the cost of the cheapest path; -log of Viterbi, without its underflow. Source: GKT07.

    Carrier: numbers from 0 to inf. +inf annihilates under IEEE rules, since no element is -inf.
    """

    zero, one = float("inf"), 0.0
    bounds = (0.0, float("inf"))
    scalar = ("min(x, y)", "x + y")
    absorptive = True
    annotation = "neg-log"
    question = "How much does the cheapest path cost, if an edge pays for falling behind its neuron's strongest input?"
    examples = (1.0, 2.0, 0.5, 7.0)

    def star(self, x: Tensor) -> Tensor:
        """Return 0: going round a cycle never helps."""
        return torch.zeros_like(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return max(x - y, 0), and 0 where y = inf (inf - inf would be NaN)."""
        return torch.where(y >= x, torch.zeros_like(x), x - y)
