"""Coefficients without their signs."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


@register("absolute")
class AbsoluteValue(Annotation):
    """Θ(d) = |d|: for MaxTimes, the path of the largest product whatever its sign. Source: Du23 section 3."""

    form = "elementwise"
    scalar = "abs(d)"
    differentiable = True

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(edges.d.abs(), dtype, semiring)
