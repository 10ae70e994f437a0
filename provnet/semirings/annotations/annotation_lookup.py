"""Annotation functions by name, and which one a semiring gets."""

from __future__ import annotations

from provnet.errors import OptionError
from provnet.semirings.annotations.base import REGISTRY, Annotation
from provnet.semirings.base import Semiring


def get(annotation: str | Annotation) -> Annotation:
    """Return the annotation function called so, with its default options; an instance is returned as it is.

    Raises `UnknownNameError`, which lists the names that come near, and `OptionError` for any other kind of object.
    """
    if isinstance(annotation, Annotation):
        return annotation
    if isinstance(annotation, str):
        return REGISTRY.get(annotation)()
    raise OptionError(
        f"{annotation!r} is no annotation function. Give an instance such as Threshold(0.1), or one of the names "
        f"{', '.join(names())}."
    )


def resolve(annotation: str | Annotation | None, semiring: Semiring) -> Annotation:
    """Return the annotation function to use in `semiring`: the semiring's default for None. Raises as `get`."""
    return get(semiring.annotation if annotation is None else annotation).bind(semiring)


def names() -> tuple[str, ...]:
    """Return the names of all registered annotation functions, sorted."""
    return REGISTRY.names()
