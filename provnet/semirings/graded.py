"""Values by length: polynomials in one unknown, cut off at a degree."""

from __future__ import annotations

from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.base import Semiring, register
from provnet.semirings.channels import ChannelSemiring
from provnet.semirings.lookup import get


@register("graded")
class Graded(ChannelSemiring):
    """S[z] modulo z^(n+1): channel c holds the value of the paths of total cost c; longer ones are cut off.

    Carrier: rows of n + 1 elements of the base, the coefficients of 1, z, ..., z^n. Source: truncated formal power
    series, Golan 1999, Semirings and their Applications.
    """

    annotation = "graded"
    question = "How much relevance comes over paths of each length?"

    def __init__(self, base: str | Semiring = "real", degree: int = 8) -> None:
        if degree < 1:
            raise OptionError(f"the degree is {degree}; it must be at least 1.")
        super().__init__(get(base), channels=degree + 1)
        self.zero, self.one = self.row(), self.row(self.base.one)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        plus, times = self.base.plus, self.base.times
        left, right = self.split(x), self.split(y)
        found = []
        for degree in range(self.channels):
            total = times(left[0], right[degree])
            for i in range(1, degree + 1):
                total = plus(total, times(left[i], right[degree - i]))
            found.append(total)
        return self.join(found)

    def __repr__(self) -> str:
        return f"Graded({self.base!r}, {self.channels - 1})"
