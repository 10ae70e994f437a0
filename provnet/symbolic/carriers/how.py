"""ℕ[X], how-provenance."""

from __future__ import annotations

from collections.abc import Iterable

from provnet.symbolic.carriers.base import Carrier, register
from provnet.symbolic.polynomial import Monomial, Polynomial


@register("n[x]", "how")
class How(Carrier[Polynomial]):
    """(ℕ[X], +, ·, 0, 1): the free commutative semiring. Which edges, how often, in how many ways. [GKT07]."""

    name = "n[x]"
    question = "Over which paths does a neuron reach the target: which edges, how often each, in how many ways?"
    zero, one = Polynomial(), Polynomial.constant(1)

    def variable(self, name: str) -> Polynomial:
        return Polynomial.variable(name)

    def plus(self, x: Polynomial, y: Polynomial) -> Polynomial:
        return x + y

    def times(self, x: Polynomial, y: Polynomial) -> Polynomial:
        return x * y

    def monomials(self, x: Polynomial) -> Iterable[tuple[Monomial, int]]:
        return x.terms.items()
