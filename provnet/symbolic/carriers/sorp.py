"""Sorp(X): polynomials in which a shorter derivation absorbs the longer ones that contain it."""

from __future__ import annotations

from collections.abc import Iterable

from provnet.symbolic.carriers.base import Carrier, minimal, register
from provnet.symbolic.carriers.boolean_how import Monomials
from provnet.symbolic.polynomial import Monomial, Polynomial, multiply


def divides(m: Monomial, n: Monomial) -> bool:
    """Return whether each exponent of `m` is at most the one of `n`."""
    exponents = dict(n)
    return all(exponent <= exponents.get(name, 0) for name, exponent in m)


def shortest(monomials: Iterable[Monomial]) -> Monomials:
    """Return the monomials that no other one divides."""
    return minimal(monomials, divides, lambda m: sum(exponent for _, exponent in m))


@register("sorp")
class Sorp(Carrier[Monomials]):
    """Sets of monomials none of which divides another: x + x·y = x. Free among the absorptive semirings.

    Source: Deutch, Milo, Roy, Tannen, Circuits for Datalog Provenance, ICDT 2014.
    """

    name = "sorp"
    question = "Which paths are left when one that has all edges of another, as often or more, is dropped?"
    zero, one = frozenset(), frozenset({()})
    idempotent = absorptive = True
    valid_for = frozenset({"absorptive"})

    def variable(self, name: str) -> Monomials:
        return frozenset({((name, 1),)})

    def plus(self, x: Monomials, y: Monomials) -> Monomials:
        return shortest(x | y)

    def times(self, x: Monomials, y: Monomials) -> Monomials:
        return shortest(multiply(m, n) for m in x for n in y)

    def monomials(self, x: Monomials) -> Iterable[tuple[Monomial, int]]:
        return ((m, 1) for m in sorted(x))

    def text(self, x: Monomials) -> str:
        return str(Polynomial(dict.fromkeys(x, 1)))
