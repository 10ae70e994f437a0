"""An edge is one path of one step."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.annotations.base import Edges, register
from provnet.semirings.annotations.wrapping import Wrapping
from provnet.semirings.base import Semiring
from provnet.semirings.k_best import KBest


@register("single")
class Single(Wrapping):
    """(Θ, 0, ..., 0), for KBest: an edge alone has one best value. Θ is the default of the base unless given.

    Source: Goodman 1999, Semiring Parsing, section 5.
    """

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        if not isinstance(semiring, KBest):
            raise OptionError(f"the annotation function {self.name!r} is for KBest(...), not for {semiring!r}.")
        found = self.inside(edges, semiring, dtype)
        zero = semiring.base.full(found.shape, semiring.base.zero, found)
        return semiring.join([found, *[zero] * (semiring.channels - 1)])
