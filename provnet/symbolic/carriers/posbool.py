"""PosBool(X): positive Boolean expressions, up to equivalence."""

from __future__ import annotations

from collections.abc import Iterable

from provnet.symbolic.carriers.base import Carrier, minimal, register
from provnet.symbolic.carriers.why import Witness, Witnesses, as_monomials, as_text
from provnet.symbolic.polynomial import Monomial


def smallest(witnesses: Iterable[Witness]) -> Witnesses:
    """Return the witnesses that contain no other one."""
    return minimal(witnesses, frozenset.issubset, len)


@register("posbool")
class PosBool(Carrier[Witnesses]):
    """Minimal sets of edges, each of which suffices. Free among distributive lattices. [GKT07], section 5."""

    name = "posbool"
    question = "Which smallest sets of edges suffice to reach the target?"
    zero, one = frozenset(), frozenset({frozenset()})
    idempotent = absorptive = times_idempotent = True
    valid_for = frozenset({"absorptive", "times_idempotent"})

    def variable(self, name: str) -> Witnesses:
        return frozenset({frozenset({name})})

    def plus(self, x: Witnesses, y: Witnesses) -> Witnesses:
        return smallest(x | y)

    def times(self, x: Witnesses, y: Witnesses) -> Witnesses:
        return smallest(v | w for v in x for w in y)

    def monomials(self, x: Witnesses) -> Iterable[tuple[Monomial, int]]:
        return as_monomials(x)

    def text(self, x: Witnesses) -> str:
        return as_text(x)
