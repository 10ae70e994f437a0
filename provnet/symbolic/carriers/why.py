"""Why(X): sets of witnesses."""

from __future__ import annotations

from collections.abc import Iterable

from provnet.symbolic.carriers.base import Carrier, register
from provnet.symbolic.notation import natural
from provnet.symbolic.polynomial import Monomial

Witness = frozenset[str]
Witnesses = frozenset[Witness]


def as_monomials(x: Witnesses) -> list[tuple[Monomial, int]]:
    """Return each witness as the product of its variables."""
    return sorted((tuple((name, 1) for name in sorted(w)), 1) for w in x)


def as_text(x: Witnesses) -> str:
    """Return witnesses as {{x, y}, {z}}."""
    sets = sorted((sorted(w, key=natural) for w in x), key=lambda w: (len(w), [natural(v) for v in w]))
    return "{" + ", ".join("{" + ", ".join(w) + "}" for w in sets) + "}"


@register("why")
class Why(Carrier[Witnesses]):
    """Sets of sets of edges, each of which suffices: union, and pairwise union. Buneman, Khanna, Tan, ICDT 2001."""

    name = "why"
    question = "Which sets of edges are the edges of a path to the target?"
    zero, one = frozenset(), frozenset({frozenset()})
    idempotent = True
    valid_for = frozenset({"idempotent", "squares"})

    def variable(self, name: str) -> Witnesses:
        return frozenset({frozenset({name})})

    def plus(self, x: Witnesses, y: Witnesses) -> Witnesses:
        return x | y

    def times(self, x: Witnesses, y: Witnesses) -> Witnesses:
        return frozenset(v | w for v in x for w in y)

    def monomials(self, x: Witnesses) -> Iterable[tuple[Monomial, int]]:
        return as_monomials(x)

    def text(self, x: Witnesses) -> str:
        return as_text(x)
