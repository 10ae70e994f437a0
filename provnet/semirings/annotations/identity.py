"""The coefficient itself."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


@register("identity")
class Identity(Annotation):
    """Θ(d) = d: classical LRP in Real, every threshold at once in Bottleneck. Source: GSM25 eq. 3."""

    form = "identity"
    scalar = "d"
    differentiable = True

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(edges.d, dtype, semiring)
