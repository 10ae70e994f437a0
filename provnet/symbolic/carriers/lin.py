"""Lin(X), which-provenance: the edges that take part at all."""

from __future__ import annotations

from provnet.symbolic.carriers.base import Carrier, register
from provnet.symbolic.notation import natural

Lineage = frozenset[str] | None


@register("lin", "which")
class Lin(Carrier[Lineage]):
    """One set of edges, or ⊥ (None) where nothing leads to the target; both operations are union, but ⊥ ⊗ x = ⊥.

    It decides no other semiring's value, so `monomials` is not defined. Source: Cui, Widom, Wiener, TODS 2000.
    """

    name = "lin"
    question = "Which edges lie on any path to the target at all?"
    zero, one = None, frozenset()
    idempotent = times_idempotent = True

    def variable(self, name: str) -> Lineage:
        return frozenset({name})

    def plus(self, x: Lineage, y: Lineage) -> Lineage:
        if x is None or y is None:
            return y if x is None else x
        return x | y

    def times(self, x: Lineage, y: Lineage) -> Lineage:
        return None if x is None or y is None else x | y

    def text(self, x: Lineage) -> str:
        return "⊥" if x is None else "{" + ", ".join(sorted(x, key=natural)) + "}"
