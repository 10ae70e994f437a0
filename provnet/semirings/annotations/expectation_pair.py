"""A coefficient and its share of an expectation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


def surprise(d: Tensor) -> Tensor:
    """Return -log |d|, and 0 where d = 0, for 0 log 0 counts as 0. There it is constant for autograd too."""
    return -torch.where(d == 0, torch.ones_like(d), d.abs()).log()


@register("expectation")
class ExpectationPair(Annotation):
    """Θ(d) = (d, d * f(d)), for Expectation; f = -log |d| gives the entropy of paths, f = 1 their mean length.

    Source: Du23 section 3 (gradient entropy), Li and Eisner 2009.
    """

    form = "elementwise"
    differentiable = True

    def __init__(self, f: Callable[[Tensor], Tensor] = surprise) -> None:
        self.f = f

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        d = self.floats(edges.d, dtype, semiring)
        return torch.stack([d, d * self.f(d)], dim=-1)
