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
    differentiable = True

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        d = edges.d
        if not d.requires_grad:
            return self.floats(d.clamp(min=0).log(), dtype, semiring)
        # The derivative of log at 0 would be inf, and NaN after a clamp, though -inf is what stands there anyway.
        positive = d > 0
        logs = torch.where(positive, d, torch.ones_like(d)).log()
        return self.floats(torch.where(positive, logs, -torch.inf), dtype, semiring)
