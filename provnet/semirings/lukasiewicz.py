"""Lukasiewicz's fuzzy logic: what the losses along a path leave over."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import register
from provnet.semirings.ordered import MaxSemiring


@register("lukasiewicz")
class Lukasiewicz(MaxSemiring):
    """([0, 1], max, max(x + y - 1, 0), 0, 1): one less the losses 1 - x along the best path, never below 0.

    Carrier: numbers from 0 to 1. Source: Hajek 1998, Metamathematics of Fuzzy Logic.
    """

    zero, one = 0.0, 1.0
    bounds = (0.0, 1.0)
    # x + y - 1 rounds twice, and then 1 * 1e-20 is 0. The larger one's gap 1 - max is exact wherever it matters.
    scalar = ("max(x, y)", "max(min(x, y) - (1 - max(x, y)), 0)")
    absorptive = True
    annotation = "max-normalised"
    question = "What is left of 1 on the best path, each edge taking off what it lacks to its neuron's strongest input?"
    examples = (0.25, 0.5, 0.75)

    def star(self, x: Tensor) -> Tensor:
        """Return 1: going round a cycle never helps."""
        return torch.ones_like(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return min(1, 1 - y + x), the Lukasiewicz implication."""
        return torch.where(y <= x, torch.ones_like(x), (1 - y) + x)
