"""A route is one way to pull relevance back through a block. The first that fits, by rank, is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from provnet.registry import Registry
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.prepared import Prepared

REGISTRY: Registry[type[Route]] = Registry("route")
register = REGISTRY.register


@dataclass(frozen=True, eq=False)
class BlockQuestion:
    """Which elements the edges get: a semiring, its annotation function at this block, the evaluation's tile size."""

    semiring: Semiring
    annotation: Annotation
    tile: int | None = None


@dataclass(frozen=True, eq=False)
class Pulled:
    """What a block passes back: relevance of its inputs [batch, inputs, *element], the total that its bias took and the
    total that was lost where no edge is defined, [batch, *element] (None: nothing), and the total of the inputs (None:
    not known yet)."""

    inputs: Tensor
    bias: Tensor | None
    lost: Tensor | None
    total: Tensor | None = None


class Route:
    """The base of routes. A route is keyed on what rules, annotation functions and semirings declare, never on a
    class."""

    name: ClassVar[str] = ""
    rank: ClassVar[int] = 0
    """Higher is tried first. The reference has rank 0 and fits always."""
    joins: ClassVar[bool] = False
    """Whether it takes a block of several operands as one, a `Joined`, and gives a tuple of `Pulled` for each tensor.
    Else operands are served one by one (see `operands`)."""

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        """Return why this route gives the exact answer here, or None if it may not."""
        raise NotImplementedError

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        """Return what the block passes back, for each tensor of relevance [batch, outputs, *element].

        None: this input is outside the route's safe range (an overflow, say); the next route is taken.
        """
        raise NotImplementedError

    def together(
        self, parts: Sequence[Prepared], question: BlockQuestion, relevance: Sequence[Tensor]
    ) -> list[tuple[Pulled, ...]] | None:
        """Return what several operands of one block get, as `pull` does for one.

        A route that makes something of the outputs which all operands need has a method of its own.
        """
        columns = [self.pull(part, question, relevance) for part in parts]
        found = [column for column in columns if column is not None]
        return list(zip(*found, strict=True)) if len(found) == len(columns) else None
