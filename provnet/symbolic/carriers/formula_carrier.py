"""Formula: ℕ[X] left unexpanded, as ⊕ and ⊗ were applied."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from provnet.circuit.gates import ONE, VARIABLE, ZERO
from provnet.symbolic.carriers.base import Carrier, register
from provnet.symbolic.expand_polynomial import polynomial
from provnet.symbolic.expression import Expression, number_of
from provnet.symbolic.polynomial import Monomial

K = TypeVar("K")

PRIME = (1 << 61) - 1


class FreeExpression(Expression):
    """An expression up to the laws of commutative semirings: two are equal if their polynomials are."""

    @property
    def fingerprint(self) -> int:
        return self.formula.fold(
            lambda x, y: (x + y) % PRIME, lambda x, y: x * y % PRIME, 0, 1, lambda name: number_of(name) % PRIME
        )

    @property
    def normal_form(self) -> Hashable:
        return polynomial(self.formula.store)


@register("formula")
class FormulaCarrier(Carrier[FreeExpression]):
    """Expressions with ⊕ and ⊗ as they were applied; equal if the laws of commutative semirings make them so.

    Small where the polynomial is not, for nothing is multiplied out. Free, as ℕ[X] is: they are isomorphic ([GKT07]).
    """

    name = "formula"
    question = "By which sums and products, nothing multiplied out, does a neuron reach the target?"
    zero, one = FreeExpression(ZERO), FreeExpression(ONE)

    def variable(self, name: str) -> FreeExpression:
        return FreeExpression(VARIABLE, (), name)

    def plus(self, x: FreeExpression, y: FreeExpression) -> FreeExpression:
        return x.plus(y)

    def times(self, x: FreeExpression, y: FreeExpression) -> FreeExpression:
        return x.times(y)

    def monomials(self, x: FreeExpression) -> Iterable[tuple[Monomial, int]]:
        return polynomial(x.formula.store).terms.items()

    def specialise(
        self,
        x: FreeExpression,
        valuation: Mapping[str, K] | Callable[[str], K],
        plus: Callable[[K, K], K],
        times: Callable[[K, K], K],
        zero: K,
        one: K,
    ) -> K:
        """Return the value of `x` in another semiring, each part computed once: nothing is expanded."""
        return x.formula.fold(plus, times, zero, one, valuation)
