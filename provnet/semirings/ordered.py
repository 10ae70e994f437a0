"""The two ways in which plus can choose: semirings whose plus is max, and those whose plus is min, over numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import Semiring


class MaxSemiring(Semiring):
    """The base of semirings whose plus is max. A NaN stays one: neither `maximum` nor `amax` drops it."""

    idempotent = naturally_ordered = selective = True

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the least d with x <= max(y, d): x where it exceeds y, else zero."""
        return torch.where(x > y, x, self.full((), self.zero, x))


class MinSemiring(Semiring):
    """The base of semirings whose plus is min: the natural order is the numbers' order turned round."""

    idempotent = naturally_ordered = selective = True

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the least d, that is the largest number, with x >= min(y, d): x where it is below y, else zero."""
        return torch.where(x < y, x, self.full((), self.zero, x))
