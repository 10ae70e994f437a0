"""The k best paths."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.base import Semiring, register
from provnet.semirings.channels import ChannelSemiring
from provnet.semirings.lookup import get


@register("k-best")
class KBest(ChannelSemiring):
    """Rows of the k best values over a selective S, best first; + merges, * keeps the k best of the k * k products.

    Equal values of different paths all count. Carrier: rows of k elements of the base that never get better, zero where
    there are fewer paths. The base's times must be monotone, as that of every ordered semiring here is. Source: Goodman
    1999, Semiring Parsing, section 5 (Viterbi-n-best).
    """

    annotation = "single"
    question = "How strong are the k strongest paths to the target, one by one?"

    def __init__(self, k: int = 3, base: str | Semiring = "viterbi") -> None:
        base = get(base)
        if k < 1:
            raise OptionError(f"k is {k}; it must be at least 1.")
        if not base.selective or base.element_shape:
            raise OptionError(f"k-best needs a base whose plus chooses one of two numbers; {base.name!r} does not.")
        super().__init__(base, channels=k)
        self.idempotent = k == 1 and base.idempotent
        self.selective = k == 1
        self.absorptive = k == 1 and base.absorptive
        self.zero, self.one = self.row(), self.row(base.one)
        self._largest = bool(base.one > base.zero)  # zero is the worst element, so one tells which way the order goes

    def best(self, x: Tensor) -> Tensor:
        """Return the k best of the last axis, best first: [..., n] -> [..., k], n >= k."""
        if x.dtype == torch.bool:  # topk does not take it
            return x.sort(dim=-1, descending=self._largest).values[..., : self.channels]
        return x.topk(self.channels, dim=-1, largest=self._largest).values

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self.best(torch.cat(torch.broadcast_tensors(x, y), dim=-1))

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return self.best(self.base.times(x.unsqueeze(-1), y.unsqueeze(-2)).flatten(-2))

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Merge all rows along `dim`, [.., n, .., k] -> [.., .., k]; zeros over nothing."""
        return self.best(x.movedim(dim, -2).flatten(-2)) if x.shape[dim] else Semiring.sum(self, x, dim)

    def outside(self, x: Tensor) -> str | None:
        problem = super().outside(x)
        if problem is None and not bool((self.best(x) == x).all()):
            return "its rows are sorted, best first"
        return problem

    def exact_values(self, floating: torch.dtype = torch.float64) -> Tensor:
        """Return zero, one, and sorted rows of the base's exact values."""
        found = super().exact_values(floating)
        return self.best(found)

    def __repr__(self) -> str:
        return f"KBest({self.channels}, {self.base!r})"
