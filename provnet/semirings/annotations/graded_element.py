"""An edge's element, filed under its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.annotations.by_path import choose
from provnet.semirings.annotations.wrapping import Wrapping
from provnet.semirings.base import Semiring
from provnet.semirings.graded import Graded


@register("graded")
class GradedElement(Wrapping):
    """Θ * z^cost, for Graded: with cost 1 (the default) paths are sorted by their length.

    `cost` is one whole number from 0, or a mapping of paths or globs -> number (1 elsewhere). Θ is the default of the
    base unless given. Raises `OptionError` for another cost. Source: Golan 1999 (formal power series).
    """

    def __init__(self, inner: str | Annotation | None = None, *, cost: int | Mapping[str, int] = 1) -> None:
        super().__init__(inner)
        self.costs = dict(cost) if isinstance(cost, Mapping) else {}
        self.cost = 1 if isinstance(cost, Mapping) else cost
        if any(not isinstance(c, int) or c < 0 for c in (self.cost, *self.costs.values())):
            raise OptionError(f"an edge's cost is a whole number from 0; got {cost!r}.")

    def at(self, path: str) -> GradedElement:
        found = super().at(path)
        return GradedElement(found.inner, cost=choose(self.costs, path, self.cost))

    def patterns(self) -> tuple[str, ...]:
        return (*super().patterns(), *self.costs)

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        if not isinstance(semiring, Graded) or self.costs:
            raise OptionError(f"{self!r} gives elements of Graded(...) on one block, at(path); not of {semiring!r}.")
        found = self.inside(edges, semiring, dtype)
        zero = semiring.base.full(edges.p.shape, semiring.base.zero, found)
        return semiring.join([found if c == self.cost else zero for c in range(semiring.channels)])
