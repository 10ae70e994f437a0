"""What an edge would cost to repair."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.base import Semiring


@register("edits")
class Edits(Annotation):
    """0 where d >= θ, else 1: in Tropical, the least number of edges that must be let pass for a path to be relevant.

    With `deficit`, θ − d instead of 1: the least that coefficients must rise in all. An edge whose d is undefined
    cannot be repaired: it is zero, infinitely dear. θ may differ by layer, as in `Threshold`.
    Source: why-not provenance, Chapman and Jagadish 2009, as a cost semiring.
    """

    def __init__(self, theta: float | Mapping[str, float] | Threshold = 1e-9, *, deficit: bool = False) -> None:
        self.threshold = theta if isinstance(theta, Threshold) else Threshold(theta)
        self.deficit = deficit
        self.uses = self.threshold.uses

    def at(self, path: str) -> Edits:
        return Edits(self.threshold.at(path), deficit=self.deficit)

    def patterns(self) -> tuple[str, ...]:
        return self.threshold.patterns()

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        d = self.threshold.measured(edges)
        d = d.abs() if self.threshold.absolute else d
        passes = self.threshold.passes(d)
        missing = (self.threshold.rounded(d.dtype) - d).clamp(min=0) if self.deficit else torch.ones_like(d)
        return self.floats(torch.where(passes, torch.zeros_like(d), missing), dtype, semiring)
