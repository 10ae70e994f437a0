"""What two formulas do not have in common: paths, and variables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from provnet.notebook import card
from provnet.symbolic.expand_polynomial import polynomial
from provnet.symbolic.formula import Formula
from provnet.symbolic.polynomial import Polynomial

SHOWN = 20
"""Paths of each side that are printed."""


@dataclass(frozen=True, repr=False)
class Difference:
    """Two formulas compared as polynomials in ℕ[X], so that how they are written makes no difference.

    left, right   the monomials, with multiplicities, that only the one or the other has;  common  those of both.
    left_variables, right_variables   variables that only the one or the other uses.
    """

    left: Polynomial
    right: Polynomial
    common: Polynomial
    left_variables: tuple[str, ...]
    right_variables: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether both stand for the same polynomial."""
        return not self.left and not self.right

    def __str__(self) -> str:
        """Return a line for each path that only one side has, `-` for the left and `+` for the right one's."""
        lines = [*_lines("-", self.left), *_lines("+", self.right)]
        return "\n".join([*lines, self._in_both()])

    def _in_both(self) -> str:
        both = self.common.paths
        return "1 path in both" if both == 1 else f"{both:,} paths in both"

    def _repr_html_(self) -> str:
        rows = [line.split(" ", 1) for line in (*_lines("-", self.left), *_lines("+", self.right))]
        return card(repr(self), [self._in_both()], ["only in", "path"], rows)

    def __repr__(self) -> str:
        return f"<Difference: {self.left.paths:,} paths only left, {self.right.paths:,} only right, {self._in_both()}>"


def _lines(sign: str, polynomial: Polynomial) -> list[str]:
    terms = polynomial.ordered()
    lines = [f"{sign} {Polynomial({monomial: count})}" for monomial, count in terms[:SHOWN]]
    more = len(terms) - len(lines)
    return [*lines, f"{sign} … {more:,} more"] if more else lines


def difference(left: Formula, right: Formula, max_terms: int = 100_000) -> Difference:
    """Return what two formulas do not have in common.

    Raises: `LimitError` for a formula of more than `max_terms` paths.
    Example: `print(difference(gates.formula(), gates.prune(theta=0.1).formula()))`
    """
    first, second = (Counter(polynomial(f.store, None, max_terms).terms) for f in (left, right))
    ours, theirs = set(left.variables), set(right.variables)
    return Difference(
        Polynomial(first - second),
        Polynomial(second - first),
        Polynomial(first & second),
        tuple(name for name in left.variables if name not in theirs),
        tuple(name for name in right.variables if name not in ours),
    )
