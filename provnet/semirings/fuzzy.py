"""Goedel's fuzzy logic: the weakest share on the best path."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import register
from provnet.semirings.ordered import MaxSemiring


@register("fuzzy")
class Fuzzy(MaxSemiring):
    """([0, 1], max, min, 0, 1): the weakest share on the best path, which length does not wear down.

    Carrier: numbers from 0 to 1; exact, for nothing is computed. Source: Hajek 1998, Metamathematics of Fuzzy Logic.
    """

    zero, one = 0.0, 1.0
    bounds = (0.0, 1.0)
    scalar = ("max(x, y)", "min(x, y)")
    absorptive = times_idempotent = True
    annotation = "max-normalised"
    question = "How strong is the weakest edge of the best path, each edge measured by its neuron's strongest input?"
    examples = (0.1, 0.5, 0.7)

    def star(self, x: Tensor) -> Tensor:
        """Return 1: going round a cycle never helps."""
        return torch.ones_like(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the Goedel implication: 1 where y <= x, else x."""
        return torch.where(y <= x, torch.ones_like(x), x)
