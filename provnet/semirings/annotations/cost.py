"""Coefficients as costs."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


@register("cost")
class Cost(Annotation):
    """Θ(d) = -log |d|: for MinPlus; negative where |d| > 1, and +inf, its zero, where d = 0. Source: Du23, negated."""

    form = "elementwise"
    scalar = "-log(abs(d))"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(edges.d.abs().log().neg(), dtype, semiring)
