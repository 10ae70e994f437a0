"""How large the numbers of an operand are: what fast routes ask before they trust sums and products of floats."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class DivisorRange:
    """The least |z| that is not 0 and the largest that is finite, and whether some z is 0."""

    least: float = torch.inf
    most: float = 0.0
    zero: bool = False

    def with_piece(self, z: Tensor) -> DivisorRange:
        """Return the range of these numbers and of z."""
        if not z.numel():
            return self
        size = z.abs()
        least, most = (float(end) for end in size.aminmax())
        zero = least == 0
        if zero:
            least = float(torch.where(size == 0, torch.inf, size).min())
        if most == torch.inf:
            most = float(torch.where(torch.isfinite(size), size, 0.0).max())
        return DivisorRange(min(self.least, least), max(self.most, most), self.zero or zero)


@dataclass(eq=False)
class Extent:
    """Sizes of one operand under one rule, as far as somebody has looked: kept beside its denominators. None: nobody.

    input          the largest |f(a)| over the rule's products
    weight         a bound of |g(w)| over the products; of weights in two factors, of base, and of base · scale
    lightest       the least |g(w)| that is not 0
    bias           the largest |g(b)| over the products, where there is a bias
    heaviest       the largest |g(w)| of the edges of each near end, [groups, near]
    contributions  the largest |p| of each output's slots, bias included, [batch, outputs]
    divisors       by branch, what its z lie between
    masked         whether a weight that stands on no edge is something, so that leaving its mask out would be seen
    """

    input: float | None = None
    weight: float | None = None
    lightest: float | None = None
    bias: float | None = None
    heaviest: Tensor | None = None
    contributions: Tensor | None = None
    masked: bool | None = None
    divisors: dict[int, DivisorRange] = field(default_factory=dict)
