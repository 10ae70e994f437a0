"""Trio(X): bags of witnesses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from provnet.symbolic.carriers.base import Carrier, register
from provnet.symbolic.polynomial import Monomial, Polynomial

Witness = frozenset[str]
Bag = frozenset[tuple[Witness, int]]


@register("trio")
class Trio(Carrier[Bag]):
    """Sets of edges with multiplicities: polynomials without exponents. Source: Das Sarma et al. 2008; Green 2011."""

    name = "trio"
    question = "Which sets of edges make paths to the target, and how many paths does each set make?"
    zero, one = frozenset(), frozenset({(frozenset(), 1)})
    valid_for = frozenset({"squares"})

    def variable(self, name: str) -> Bag:
        return frozenset({(frozenset({name}), 1)})

    def plus(self, x: Bag, y: Bag) -> Bag:
        return frozenset((Counter(dict(x)) + Counter(dict(y))).items())

    def times(self, x: Bag, y: Bag) -> Bag:
        found: Counter[Witness] = Counter()
        for v, n in x:
            for w, m in y:
                found[v | w] += n * m
        return frozenset(found.items())

    def monomials(self, x: Bag) -> Iterable[tuple[Monomial, int]]:
        return sorted((tuple((name, 1) for name in sorted(w)), n) for w, n in x)

    def text(self, x: Bag) -> str:
        return str(Polynomial(dict(self.monomials(x))))
