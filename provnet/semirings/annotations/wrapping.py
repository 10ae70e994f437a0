"""Annotation functions that are built on another one."""

from __future__ import annotations

from copy import copy
from typing import Self

import torch
from torch import Tensor

from provnet.semirings.annotations.annotation_lookup import get, resolve
from provnet.semirings.annotations.base import Annotation, Edges
from provnet.semirings.base import Semiring


class Wrapping(Annotation):
    """The base of those: `inner` is the other one, None for the default of the semiring in which it works."""

    def __init__(self, inner: str | Annotation | None = None) -> None:
        self.inner = None if inner is None else get(inner)
        self._follow()

    def _follow(self) -> None:
        if self.inner is not None:
            self.uses = self.inner.uses

    def _around(self, inner: Annotation) -> Self:
        found = copy(self)
        found.inner = inner
        found._follow()
        return found

    def where(self, semiring: Semiring) -> Semiring:
        """Return the semiring in which `inner` works."""
        return getattr(semiring, "base", semiring)

    def bind(self, semiring: Semiring) -> Self:
        return self._around(resolve(self.inner, self.where(semiring)))

    def at(self, path: str) -> Self:
        return self if self.inner is None else self._around(self.inner.at(path))

    def patterns(self) -> tuple[str, ...]:
        return () if self.inner is None else self.inner.patterns()

    def inside(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        """Return what `inner` gives, in its own semiring: [..., slots, *its element_shape]."""
        base = self.where(semiring)
        return resolve(self.inner, base)(edges, base, dtype)
