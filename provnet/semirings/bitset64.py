"""Sixty-four Boolean answers in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import Semiring, register


@register("bitset64")
class Bitset64(Semiring):
    """({0, 1}^64, bitwise or, bitwise and, 0, all ones): reachability in 64 worlds at once, one a bit.

    The worlds are thresholds, random networks, or images. Carrier: every int64, read as 64 bits; bit 63 is the sign.
    Source: the 64-fold product of the Booleans of GKT07.
    """

    zero, one = 0, -1
    dtype = torch.int64
    family = "bit-or-and"
    idempotent = absorptive = times_idempotent = naturally_ordered = True  # not selective: 1 | 2 is 3
    annotation = "thresholds"
    question = "At which of up to 64 thresholds, or in which of 64 worlds, is there a path to the target?"
    examples = (1, 2, 6, -(2**63), 2**63 - 1)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return x | y

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return x & y

    def star(self, x: Tensor) -> Tensor:
        """Return all ones."""
        return torch.full_like(x, -1)

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the bits of x that y lacks."""
        return x & ~y

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the implication y -> x, bit by bit."""
        return ~y | x

    def unpack(self, x: Tensor) -> Tensor:
        """Return the 64 answers, Booleans [..., 64], bit 0 first."""
        return (x.unsqueeze(-1) >> torch.arange(64, device=x.device)) & 1 == 1

    def pack(self, worlds: Tensor) -> Tensor:
        """Return Booleans [..., n], n <= 64, as elements [...]; missing worlds are 0. The inverse of `unpack`."""
        places = torch.arange(worlds.shape[-1], device=worlds.device)
        return (worlds.to(torch.int64) << places).sum(dim=-1)
