"""How large the numbers of an operand are: what fast routes ask before they trust sums and products of floats."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(eq=False)
class Extent:
    """Sizes of one operand under one rule, as far as somebody has looked: kept beside its denominators. None: nobody.

    input          the largest |f(a)| over the rule's products
    weight         a bound of |g(w)| over the products; of weights in two factors, of base, and of base · scale
    first          the largest |g(w)| and |g(b)| of the first product
    heaviest       the largest |g(w)| of the edges of each near end, [groups, near]
    contributions  the largest |p| of each output's slots, bias included, [batch, outputs]
    divisors       by branch, the largest |z|
    masked         whether a weight that stands on no edge is something, so that leaving its mask out would be seen
    """

    input: float | None = None
    weight: float | None = None
    first: tuple[float, float] | None = None
    heaviest: Tensor | None = None
    contributions: Tensor | None = None
    masked: bool | None = None
    divisors: dict[int, float] = field(default_factory=dict)
