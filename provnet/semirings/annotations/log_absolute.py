"""Logarithms of coefficients without their signs."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


@register("log-absolute")
class LogAbsolute(Annotation):
    """Θ(d) = log |d|: `Absolute` for Arctic. d = 0 gives -inf, its zero. Source: Du23 section 3."""

    form = "elementwise"
    scalar = "log(abs(d))"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(edges.d.abs().log(), dtype, semiring)
