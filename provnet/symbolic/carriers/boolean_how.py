"""𝔹[X]: polynomials with Boolean coefficients."""

from __future__ import annotations

from collections.abc import Iterable

from provnet.symbolic.carriers.base import Carrier, register
from provnet.symbolic.polynomial import Monomial, Polynomial, multiply

Monomials = frozenset[Monomial]


@register("b[x]")
class BooleanHow(Carrier[Monomials]):
    """Sets of monomials: union, and all products. Free among the idempotent semirings. Green 2011, section 3."""

    name = "b[x]"
    question = "Over which paths does a neuron reach the target, however many of them share the same edges?"
    zero, one = frozenset(), frozenset({()})
    idempotent = True
    valid_for = frozenset({"idempotent"})

    def variable(self, name: str) -> Monomials:
        return frozenset({((name, 1),)})

    def plus(self, x: Monomials, y: Monomials) -> Monomials:
        return x | y

    def times(self, x: Monomials, y: Monomials) -> Monomials:
        return frozenset(multiply(m, n) for m in x for n in y)

    def monomials(self, x: Monomials) -> Iterable[tuple[Monomial, int]]:
        return ((m, 1) for m in sorted(x))

    def text(self, x: Monomials) -> str:
        return str(Polynomial(dict.fromkeys(x, 1)))
