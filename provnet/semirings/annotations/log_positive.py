"""Logarithms of supporting coefficients."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


@register("log-positive")
class LogPositive(Annotation):
    """Θ(d) = log max(d, 0): `Positive` for Log. d <= 0 gives -inf, its zero. Source: Mon19."""

    form = "elementwise"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(edges.d.clamp(min=0).log(), dtype, semiring)
