"""Supporting and opposing relevance kept apart."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.base import Semiring, register
from provnet.semirings.channels import ChannelSemiring
from provnet.semirings.lookup import get


@register("signed")
class Signed(ChannelSemiring):
    """Pairs (P, N) over S; (P, N) * (P', N') = (PP' + NN', PN' + NP'): the paths of either sign, never cancelling.

    An even number of opposing edges supports. Carrier: pairs of elements of the base. Over NonNegative, P - N is the
    value in the reals. Source: the group semiring S[Z/2], Golan 1999, Semirings and their Applications.
    """

    annotation = "signed"
    question = "How much relevance comes over supporting paths, and how much over opposing ones, before they cancel?"

    def __init__(self, base: str | Semiring = "non-negative") -> None:
        super().__init__(get(base), channels=2)
        self.zero, self.one = self.row(), self.row(self.base.one)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        plus, times = self.base.plus, self.base.times
        (p, n), (q, m) = self.split(x), self.split(y)
        return self.join([plus(times(p, q), times(n, m)), plus(times(p, m), times(n, q))])

    def net(self, x: Tensor) -> Tensor:
        """Return P - N, [..., 2] -> [...]: over numbers, the value in the reals."""
        p, n = self.split(x)
        return p - n

    def cancellation(self, x: Tensor) -> Tensor:
        """Return (P + N) / |P - N|, [..., 2] -> [...]: how many times the net value the mass of all paths is.

        At least 1; inf where equal masses cancel to nothing; 1 where there is no path at all.
        """
        p, n = self.split(x)
        return torch.where(p + n == 0, torch.ones_like(p), (p + n) / (p - n).abs())

    def __repr__(self) -> str:
        return f"Signed({self.base!r})"
