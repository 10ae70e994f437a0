"""The maps to and from carriers that leave expressions unexpanded: isomorphisms, one way each to read an element."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from provnet.symbolic.carriers.base import Carrier
from provnet.symbolic.carriers.bool_expr import BooleanExpression, BoolExpr, minimal_form
from provnet.symbolic.carriers.formula_carrier import FormulaCarrier, FreeExpression
from provnet.symbolic.carriers.why import Witnesses, as_monomials
from provnet.symbolic.expand_polynomial import polynomial
from provnet.symbolic.formula import Formula
from provnet.symbolic.polynomial import Monomial, Polynomial, power


def multiply_out(x: FreeExpression | Formula) -> Polynomial:
    """Formula → ℕ[X]. Takes what `GateCircuit.formula` returns too. Raises `LimitError` above 100,000 monomials."""
    return polynomial((x if isinstance(x, Formula) else x.formula).store)


def write_sum(x: Polynomial) -> FreeExpression:
    """ℕ[X] → Formula: the sum of the monomials, coefficients as doublings."""
    return _written(FormulaCarrier(), x.terms.items())


def minimise(x: BooleanExpression) -> Witnesses:
    """BoolExpr → PosBool: its prime implicants. Raises `LimitError` above 10,000 terms."""
    return minimal_form(x)


def write_disjunction(x: Witnesses) -> BooleanExpression:
    """PosBool → BoolExpr: the disjunction of the witnesses."""
    return _written(BoolExpr(), as_monomials(x))


def _written(carrier: Carrier[Any], monomials: Iterable[tuple[Monomial, int]]) -> Any:
    """Return a polynomial's value in a carrier at the carrier's own variables."""
    sums = carrier.zero
    for monomial, number in monomials:
        product = carrier.one
        for name, exponent in monomial:
            for _ in range(exponent):
                product = carrier.times(product, carrier.variable(name))
        sums = carrier.plus(sums, power(product, number, carrier.plus, carrier.zero))
    return sums


READINGS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("formula", "n[x]"): multiply_out,
    ("n[x]", "formula"): write_sum,
    ("boolexpr", "posbool"): minimise,
    ("posbool", "boolexpr"): write_disjunction,
}
"""(from, to) -> the isomorphism. Source: ℕ[X] is free, PosBool the free distributive lattice, [GKT07]."""
