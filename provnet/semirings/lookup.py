"""Semirings by name."""

from __future__ import annotations

from provnet.errors import OptionError
from provnet.semirings.base import REGISTRY, Semiring


def get(semiring: str | Semiring) -> Semiring:
    """Return the semiring called so, with its default options; an instance is returned as it is.

    Raises `UnknownNameError`, which lists the names that come near, and `OptionError` for any other kind of object.
    """
    if isinstance(semiring, Semiring):
        return semiring
    if isinstance(semiring, str):
        return REGISTRY.get(semiring)()
    raise OptionError(
        f"{semiring!r} is no semiring. Give a name ({', '.join(names())}), an instance such as Viterbi(), or make(...)."
    )


def names() -> tuple[str, ...]:
    """Return the names of all registered semirings, sorted."""
    return REGISTRY.names()
