"""The natural numbers: how many paths. Three ways to hold counts that a machine word does not."""

from __future__ import annotations

from copy import copy
from functools import cache
from math import inf, prod
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.errors import CountOverflowError, OptionError, UnsupportedOperationError
from provnet.semirings.base import FINITE, Overflow, Semiring, register


def is_prime(n: int) -> bool:
    """Return whether n < 3,215,031,751 is prime. Source: Miller and Rabin, with bases by Jaeschke 1993."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(
        pow(base, odd, n) == 1 or any(pow(base, odd << i, n) == n - 1 for i in range(twos)) for base in (2, 3, 5, 7)
    )


@register("counting")
class Counting(Semiring):
    """(N, +, *, 0, 1): the number of paths to the target over passing edges. Source: GKT07 section 3.

    overflow   "raise": int64, and the evaluator raises `CountOverflowError` before a count could exceed 2^63 - 1;
               "float64": exact below 2^53, rounded above; "exact": residues modulo several primes, which results
               show as Python integers; "promote": int64, and where a count does not fit, all of that evaluation in
               float64 instead. Semirings over counts (Signed, Graded, Product, …) hold them in the same ways.
    bits       of "exact": how large the largest count may be. An evaluation first finds out how large counts are and
               takes as many primes as they need.
    Carrier: whole numbers from 0 to `largest`. `plus` and `times` themselves do not check: int64 arithmetic wraps in
    silence, so whoever evaluates calls `check` with a bound first.
    """

    zero, one = 0, 1
    bounds = (0.0, FINITE)
    family = "sum-product"
    counts = True
    naturally_ordered = True
    annotation = "threshold"
    question = "Over how many paths on which every coefficient is at least θ does a neuron reach the target?"
    examples = (2, 3, 7)

    def __init__(self, overflow: Overflow = "raise", bits: int = 240) -> None:
        if overflow not in get_args(Overflow):
            raise OptionError(f"overflow is {overflow!r}; it is one of {', '.join(map(repr, get_args(Overflow)))}.")
        self._hold(overflow, bits)

    def _hold(self, overflow: Overflow, bits: int = 240) -> None:
        self.overflow: Overflow = overflow
        self.dtype = torch.float64 if overflow == "float64" else torch.int64
        self.primes = enough_primes(bits) if overflow == "exact" else ()
        self.element_shape = (len(self.primes),) if self.primes else ()
        self.wraps, self.residues = overflow in ("raise", "promote"), overflow == "exact"
        # Residues are reduced after every sum, and their order is that of the ring of integers modulo the product.
        self.family = None if self.residues else type(self).family
        self.naturally_ordered = not self.residues

    def outside(self, x: Tensor) -> str | None:
        if x.is_floating_point() and bool((x != x.round()).any()):
            return "it holds whole numbers"
        return super().outside(x)

    @property
    def largest(self) -> int:
        """The largest count up to which every count is exact."""
        if self.primes:
            return prod(self.primes) - 1
        return 2**53 if self.overflow == "float64" else 2**63 - 1

    def ladder(self) -> tuple[Semiring, ...]:
        return (self.held("raise"), self.held("float64")) if self.overflow == "promote" else (self,)

    @property
    def promotes(self) -> bool:
        return type(self) is Counting and self.overflow == "promote"

    def held(self, overflow: Overflow) -> Counting:
        if overflow == self.overflow:
            return self
        found = copy(self)
        found._hold(overflow)
        return found

    def with_primes(self, bits: int) -> Counting:
        if not self.residues:
            return self
        found = copy(self)
        found._hold("exact", bits)
        return found

    def encode(self, whole: Tensor) -> Tensor:
        return self.reduce(whole.unsqueeze(-1)) if self.residues else whole

    def check(self, bound: int | float, where: str) -> bool:
        """Return whether counts up to `bound` are exact here. Raises `CountOverflowError` where they would wrap.

        `where` names the block or gate. A float64 count is inexact above 2^53 and says so by False.
        """
        if bound <= self.largest:
            return True
        if self.overflow == "float64":
            return False
        raise CountOverflowError(
            f"the number of paths at {where} may reach {size(bound)}, more than {size(self.largest)}. "
            f"Use Counting(overflow='exact') for whole numbers of any size, or Counting(overflow='float64')."
        )

    def decode(self, elements: Tensor) -> NDArray[Any]:
        """Return elements as Python integers, an object array of the shape without the residue axis.

        Residues may be modulo more primes, or fewer, than this semiring has.
        Source: Garner's mixed-radix form of the Chinese remainder theorem, Knuth, TAOCP 2, section 4.3.2.
        Raises `CountOverflowError` for a float64 count that is no longer a whole number below 2^53.
        """
        if not self.primes:
            if self.overflow == "float64" and bool((elements > self.largest).any()):
                raise CountOverflowError("a float64 count exceeds 2^53, so it is rounded. Use overflow='exact'.")
            return elements.detach().cpu().to(torch.int64).numpy().astype(object)
        residues = elements.detach().cpu().numpy().astype(object)
        value, modulus = np.zeros(residues.shape[:-1], dtype=object), 1
        for i, p in enumerate(first_primes(residues.shape[-1])):
            digit = (residues[..., i] - value) * pow(modulus, -1, p) % p
            value, modulus = value + digit * modulus, modulus * p
        return np.asarray(value, dtype=object)  # numpy makes a number of an array without axes

    def reduce(self, x: Tensor) -> Tensor:
        """Return residues in [0, p) for each prime p; without primes, `x` itself."""
        return torch.remainder(x, torch.tensor(self.primes, device=x.device)) if self.primes else x

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self.reduce(x + y)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return self.reduce(x * y)

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Fold with +, [.., n, ..] -> [.., ..]. Residues are below 2^31, so up to 2^32 of them fit int64."""
        return self.reduce(x.sum(dim))

    def offers(self, operation: str) -> bool:
        return super().offers(operation) and not (self.primes and operation == "monus")

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return max(x - y, 0). Raises `UnsupportedOperationError` on residues: they have no order."""
        if self.primes:
            raise UnsupportedOperationError("residues have no order, so no monus. Decode them first: decode(elements).")
        return (x - y).clamp(min=0)


@cache
def enough_primes(bits: int) -> tuple[int, ...]:
    """Return primes between 2^30 and 2^31, largest first, whose product is at least 2^bits.

    Residues of sums and of products of two then fit int64. Raises `OptionError` if there are not enough primes.
    """
    found, product = [], 1
    for n in range(2**31 - 1, 2**30, -2):
        if is_prime(n):
            found.append(n)
            product *= n
            if product >> bits:
                return tuple(found)
    raise OptionError(f"there are no counts of {bits} bits: too few primes below 2^31.")


def first_primes(count: int) -> tuple[int, ...]:
    """Return the largest primes below 2^31, `count` of them, largest first."""
    return enough_primes(31 * count)[:count]


def bits(largest: float) -> int:
    """Return how many bits hold every count up to one that float64 has rounded. Raises `CountOverflowError` for inf."""
    if largest == inf:
        raise too_many()
    return int(largest).bit_length() + 1


def too_many() -> CountOverflowError:
    """Return the error for counts so large that float64 cannot tell how many primes they need."""
    return CountOverflowError(
        "the number of paths exceeds 2^1023, the range in which exact counts are sized. A higher threshold leaves "
        "fewer."
    )


def size(bound: int | float) -> str:
    """Return a number for a message, however large: as digits, or as a power of two."""
    return f"2^{int(bound).bit_length() - 1}" if 2**53 <= bound < inf else f"{bound:.3g}"
