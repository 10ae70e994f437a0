"""Best paths by products of shares."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import register
from provnet.semirings.ordered import MaxSemiring


@register("viterbi")
class Viterbi(MaxSemiring):
    """([0, 1], max, *, 0, 1): the strongest single path to the target. Source: Goodman 1999, Semiring Parsing.

    Carrier: numbers from 0 to 1. Long products may underflow to 0, which Tropical does not.
    """

    zero, one = 0.0, 1.0
    bounds = (0.0, 1.0)
    scalar = ("max(x, y)", "x * y")
    absorptive = True
    annotation = "max-normalised"  # |p| / max |p|: it conserves in this semiring, GSM25 eq. 12
    question = "How strong is the strongest single path, each edge measured by its neuron's strongest input?"
    examples = (0.5, 0.25, 0.125)

    def star(self, x: Tensor) -> Tensor:
        """Return 1: going round a cycle never helps."""
        return torch.ones_like(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return min(1, x / y), and 1 where y <= x, zeros included (0 / 0 would be NaN)."""
        return torch.where(y <= x, torch.ones_like(x), x / y)
