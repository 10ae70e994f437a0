"""Coefficients as clearance levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.annotations.threshold import number
from provnet.semirings.base import Semiring


@register("level")
class Level(Annotation):
    """Θ(d) = how many of `bounds` d stays below: 0 for a strong edge, the semiring's zero for one below them all.

    For Security, whose `top` is then the number of bounds. Raises `OptionError` for bounds that do not fall.
    Source: clearances of Foster, Green, Tannen 2008, Annotated XML; the bounds are ours.
    """

    def __init__(self, bounds: Sequence[float] = (1e-1, 1e-3, 1e-6, 1e-9)) -> None:
        self.bounds = tuple(number(bound, "a level's bound") for bound in bounds)
        if not self.bounds or any(x <= y for x, y in zip(self.bounds, self.bounds[1:], strict=False)):
            raise OptionError(f"the bounds of levels are {self.bounds}; give one or more, each below the one before.")

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        bounds = torch.tensor(self.bounds, dtype=edges.d.dtype, device=edges.d.device)
        level = (edges.d.unsqueeze(-1) < bounds).sum(dim=-1)
        zero = semiring.full((), semiring.zero, torch.empty((), dtype=dtype, device=level.device))
        return torch.where(level < len(self.bounds), level.to(dtype), zero)
