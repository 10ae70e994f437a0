"""BoolExpr: expressions with ∨ and ∧, read as Boolean functions."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable

from provnet.circuit.gates import ONE, VARIABLE, ZERO
from provnet.errors import LimitError
from provnet.symbolic.carriers.base import Carrier, register
from provnet.symbolic.carriers.posbool import PosBool
from provnet.symbolic.carriers.why import Witnesses, as_monomials
from provnet.symbolic.expression import Expression, number_of
from provnet.symbolic.formula import layout_text
from provnet.symbolic.polynomial import Monomial
from provnet.symbolic.size import spell

POSBOOL = PosBool()

WORLDS = (1 << 64) - 1
"""The 64 assignments of true and false, one a bit, on which two functions are compared first."""

LIMIT = 10_000
"""Terms, before absorption, that a normal form is made from: minimising is quadratic."""


class BooleanExpression(Expression):
    """A Boolean expression without negation, up to logical equivalence. `str` prints it as it was made, with ∨ and ∧.

    Equivalent ones have the same prime implicants: a monotone function has one minimal disjunctive normal form.
    """

    @property
    def fingerprint(self) -> int:
        return self.formula.fold(operator.or_, operator.and_, 0, WORLDS, number_of)

    @property
    def normal_form(self) -> Hashable:
        return minimal_form(self)

    def __str__(self) -> str:
        return layout_text(self.formula.store, signs=("∨", "∧"))


def minimal_form(x: BooleanExpression) -> Witnesses:
    """Return the minimal sets of variables that make `x` true. Raises `LimitError` above 10,000 terms."""
    if x.formula.terms > LIMIT:
        raise LimitError(
            f"the Boolean expression has {spell(x.formula.terms)} terms before absorption, more than {LIMIT:,}: too "
            "many to compare it by its normal form. Compare a smaller cone, or the circuits by their decision diagrams."
        )
    return x.formula.fold(POSBOOL.plus, POSBOOL.times, POSBOOL.zero, POSBOOL.one, POSBOOL.variable)


@register("boolexpr")
class BoolExpr(Carrier[BooleanExpression]):
    """Expressions with ∨ and ∧ as they were applied; equal if they are one Boolean function.

    Small where PosBool is not, and isomorphic to it. There is no negation: circuits have none. [GKT07], section 5.
    """

    name = "boolexpr"
    question = (
        "Which Boolean expression of the edges, nothing multiplied out, says whether a neuron reaches the target?"
    )
    zero, one = BooleanExpression(ZERO), BooleanExpression(ONE)
    idempotent = absorptive = times_idempotent = True
    valid_for = frozenset({"absorptive", "times_idempotent"})

    def variable(self, name: str) -> BooleanExpression:
        return BooleanExpression(VARIABLE, (), name)

    def plus(self, x: BooleanExpression, y: BooleanExpression) -> BooleanExpression:
        return x.plus(y)

    def times(self, x: BooleanExpression, y: BooleanExpression) -> BooleanExpression:
        return x.times(y)

    def monomials(self, x: BooleanExpression) -> Iterable[tuple[Monomial, int]]:
        return as_monomials(minimal_form(x))
