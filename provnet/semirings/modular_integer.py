"""Integers modulo a prime: fingerprints of polynomials."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.base import Semiring, register


@register("modular-integer")
class ModularInteger(Semiring):
    """(Z_p, +, *, 0, 1): a circuit's polynomial at one point modulo p; unequal values prove unequal polynomials.

    Carrier: whole numbers from 0 to p - 1, with 2 <= p < 2^31, so that a product fits int64. Source: Schwartz 1980,
    Fast probabilistic algorithms for verification of polynomial identities.
    """

    zero, one = 0, 1
    dtype = torch.int64
    ring = True
    annotation = "threshold"  # counts modulo p; identity tests give random points as a valuation instead
    question = "Have two circuits different polynomials? Unequal values at random points modulo a prime prove it."
    examples = (2, 5, 1_000_000)

    def __init__(self, p: int = 2_147_483_647) -> None:
        if not 2 <= p < 2**31:
            raise OptionError(f"the modulus is {p}; it must be at least 2 and below 2^31, for products to fit int64.")
        self.p = p
        self.bounds = (0.0, float(p - 1))
        self.examples = tuple(x % p for x in (2, 5, 1_000_000, p - 1))

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y) % self.p

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return (x * y) % self.p

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Fold with +, [.., n, ..] -> [.., ..]. Elements are below 2^31, so up to 2^32 of them fit int64."""
        return x.sum(dim) % self.p

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x - y modulo p: a ring has true differences."""
        return (x - y) % self.p

    def __repr__(self) -> str:
        return f"ModularInteger({self.p})"
