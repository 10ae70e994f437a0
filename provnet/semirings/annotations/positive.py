"""Supporting coefficients only."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


@register("positive")
class Positive(Annotation):
    """Θ(d) = max(d, 0): the supporting share, for NonNegative, whose mass does not cancel. Source: Mon19."""

    form = "elementwise"
    scalar = "max(d, 0)"
    differentiable = True

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(edges.d.clamp(min=0), dtype, semiring)
