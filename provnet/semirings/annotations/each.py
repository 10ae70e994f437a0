"""One annotation function for each component of a product."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.annotations.annotation_lookup import get, resolve
from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring
from provnet.semirings.product import Product


@register("each")
class Each(Annotation):
    """(Θ_1, Θ_2, ...), for Product: each component's default, or those given, one for each.

    An edge whose d is undefined is zero in the components whose Θ uses d, and goes on in the others.
    Raises: `OptionError` for another semiring, or another number of functions. Source: products of algebras (Birkhoff).
    """

    uses = "p"

    def __init__(self, *inner: str | Annotation) -> None:
        self.inner = tuple(get(annotation) for annotation in inner)

    def bind(self, semiring: Semiring) -> Each:
        if not isinstance(semiring, Product):
            raise OptionError(f"the annotation function {self.name!r} is for Product(...), not for {semiring!r}.")
        if self.inner and len(self.inner) != len(semiring.components):
            raise OptionError(f"{len(self.inner)} annotation functions for {len(semiring.components)} components.")
        chosen = self.inner or (None,) * len(semiring.components)
        return Each(*(resolve(a, c) for a, c in zip(chosen, semiring.components, strict=True)))

    def at(self, path: str) -> Each:
        return Each(*(annotation.at(path) for annotation in self.inner))

    def patterns(self) -> tuple[str, ...]:
        return tuple(pattern for annotation in self.inner for pattern in annotation.patterns())

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        bound = self.bind(semiring)
        assert isinstance(semiring, Product), "bind checked it"
        floating = dtype if dtype.is_floating_point else edges.d.dtype
        parts = [
            annotation(edges, component, component.element_dtype(floating))
            for annotation, component in zip(bound.inner, semiring.components, strict=True)
        ]
        return semiring.join(parts, torch.empty((), dtype=dtype))

    def lost(self, edges: Edges) -> Tensor | None:
        """Return where the relevance is lost in every component."""
        found = [annotation.lost(edges) for annotation in self.inner]
        masks = [mask for mask in found if mask is not None]
        return torch.stack(masks).all(0) if masks and len(masks) == len(found) else None
