"""Provenance polynomials: ℕ[X] on sparse monomials. Source: [GKT07], section 4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

from provnet.errors import LimitError, OptionError
from provnet.notebook import card
from provnet.on_use import on_use
from provnet.symbolic.formula import value_of
from provnet.symbolic.notation import latex_variable, natural, quoted, superscript

if TYPE_CHECKING:
    import sympy
else:
    sympy = on_use("sympy")

K = TypeVar("K")
Monomial = tuple[tuple[str, int], ...]
"""(variable, exponent) pairs, exponents at least 1, sorted by the variable's name. The empty one is 1."""

NOTEBOOK_TERMS = 50
"""Monomials up to which a notebook sets a polynomial in LaTeX."""

LIMIT = 10_000
"""How many monomials are printed unless a caller asks for more."""


def monomial(exponents: Mapping[str, int]) -> Monomial:
    """Return the monomial with these exponents; zeros are left out."""
    return tuple(sorted((name, exponent) for name, exponent in exponents.items() if exponent))


def multiply(x: Monomial, y: Monomial) -> Monomial:
    """Return the product of two monomials: exponents add up."""
    if not x or not y:
        return x or y
    exponents = dict(x)
    for name, exponent in y:
        exponents[name] = exponents.get(name, 0) + exponent
    return tuple(sorted(exponents.items()))


class Polynomial:
    """A polynomial with natural coefficients; a value: it never changes, compares by content, and can be hashed.

    `terms` maps monomials to coefficients of 1 and more. `+` and `*` are the semiring's ⊕ and ⊗.
    """

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[Monomial, int] | None = None) -> None:
        self.terms: dict[Monomial, int] = {m: c for m, c in (terms or {}).items() if c}
        self._hash: int | None = None
        if any(c < 0 for c in self.terms.values()):
            raise OptionError("a provenance polynomial has natural coefficients; one of these is negative.")

    @classmethod
    def constant(cls, number: int) -> Polynomial:
        """Return a natural number as a polynomial."""
        return cls({(): number})

    @classmethod
    def variable(cls, name: str) -> Polynomial:
        """Return one variable as a polynomial."""
        return cls({((name, 1),): 1})

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a copy is made. A hash is not carried along: other processes hash texts otherwise."""
        return type(self), (self.terms,)

    # --- what it is like ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.terms)

    @property
    def degree(self) -> int:
        """The largest total degree of a monomial; 0 for a constant, zero included."""
        return max((sum(e for _, e in m) for m in self.terms), default=0)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that occur, x2 before x10."""
        return tuple(sorted({name for m in self.terms for name, _ in m}, key=natural))

    @property
    def paths(self) -> int:
        """The sum of the coefficients: how many monomials there are with multiplicity."""
        return sum(self.terms.values())

    def __eq__(self, other: object) -> bool:
        return self.terms == other.terms if isinstance(other, Polynomial) else NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self.terms.items()))
        return self._hash

    def _repr_latex_(self) -> str | None:
        return f"$\\displaystyle {self.latex()}$" if len(self) <= NOTEBOOK_TERMS else None

    def _repr_html_(self) -> str:
        terms = [[c, Polynomial({m: 1}).text()] for m, c in self.ordered()[:LIMIT]]
        return card(repr(self), columns=["times", "monomial"], rows=terms)

    def __repr__(self) -> str:
        return f"<Polynomial: {len(self):,} monomials of degree {self.degree} in {len(self.variables):,} variables>"

    # --- arithmetic --------------------------------------------------------------------------------------------------

    def __add__(self, other: Polynomial | int) -> Polynomial:
        found = dict(self.terms)
        for m, c in as_polynomial(other).terms.items():
            found[m] = found.get(m, 0) + c
        return Polynomial(found)

    def __mul__(self, other: Polynomial | int) -> Polynomial:
        found: dict[Monomial, int] = {}
        right = as_polynomial(other).terms
        for m, c in self.terms.items():
            for n, d in right.items():
                product = multiply(m, n)
                found[product] = found.get(product, 0) + c * d
        return Polynomial(found)

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent: int) -> Polynomial:
        base: Polynomial = self
        return power(base, exponent, Polynomial.__mul__, Polynomial.constant(1))

    def derivative(self, variable: str) -> Polynomial:
        """Return the formal derivative by one variable: on simple paths, the sum over those through it, without it."""
        found: dict[Monomial, int] = {}
        for m, c in self.terms.items():
            exponents = dict(m)
            if exponent := exponents.get(variable, 0):
                lower = monomial({**exponents, variable: exponent - 1})
                found[lower] = found.get(lower, 0) + c * exponent
        return Polynomial(found)

    def restrict(self, variables: Iterable[str]) -> Polynomial:
        """Return the part in the given variables only, all others being zero: what is left of a pruned network."""
        kept = set(variables)
        return Polynomial({m: c for m, c in self.terms.items() if all(name in kept for name, _ in m)})

    def substitute(self, values: Mapping[str, Polynomial | str | int]) -> Polynomial:
        """Return the polynomial with some variables replaced: by polynomials, by other variables' names, by numbers.

        Renaming edges to the parameters that they share is such a replacement.
        """
        new = {name: as_polynomial(value) for name, value in values.items()}
        return self.specialise(
            lambda name: new.get(name) or (new[name] if name in new else Polynomial.variable(name)),
            Polynomial.__add__,
            Polynomial.__mul__,
            Polynomial(),
            Polynomial.constant(1),
        )

    # --- values ------------------------------------------------------------------------------------------------------

    def specialise(
        self,
        valuation: Mapping[str, K] | Callable[[str], K],
        plus: Callable[[K, K], K],
        times: Callable[[K, K], K],
        zero: K,
        one: K,
    ) -> K:
        """Return the value in a commutative semiring: the one homomorphism that extends the valuation ([GKT07], 4.2).

        A coefficient n means n-fold ⊕. Raises `ValuationError` if a variable has no value.
        """
        values: list[K] = []
        for m, c in self.terms.items():
            factors = [power(value_of(valuation, name), e, times, one) for name, e in m]
            product = reduce(times, factors) if factors else one
            values.append(power(product, c, plus, zero))
        return reduce(plus, values) if values else zero

    def evaluate(self, valuation: Mapping[str, float] | Callable[[str], float]) -> float:
        """Return the value in ordinary arithmetic."""
        return self.specialise(valuation, lambda x, y: x + y, lambda x, y: x * y, 0, 1)

    # --- print -------------------------------------------------------------------------------------------------------

    def ordered(self) -> list[tuple[Monomial, int]]:
        """Return the terms in reading order: high degrees first, then as in a dictionary over the variables."""
        rank = {name: k for k, name in enumerate(self.variables)}

        def key(term: tuple[Monomial, int]) -> tuple[int, list[tuple[int, int]]]:
            m = term[0]
            return -sum(e for _, e in m), sorted((rank[name], -e) for name, e in m)

        return sorted(self.terms.items(), key=key)

    def text(self, unicode: bool = True, limit: int = LIMIT) -> str:
        """Return the polynomial as text: `6·w0·w1·w2 + w1³`, or `6*w0*w1*w2 + w1^3` without `unicode`.

        Raises `LimitError` above `limit` monomials.
        """
        raised = superscript if unicode else "^{}".format
        return self._join("·" if unicode else "*", quoted, raised, limit) or "0"

    def latex(self, limit: int = LIMIT) -> str:
        """Return the polynomial in LaTeX mathematics. Raises `LimitError` above `limit` monomials."""
        return self._join(r"\,", latex_variable, "^{{{}}}".format, limit, "{{{}}}".format) or "0"

    def sympy(self, limit: int = 1_000) -> sympy.Expr:
        """Return a sympy expression in sympy's own order of terms, so that it equals what sympy expands to.

        Raises `LimitError` above `limit` terms.
        """
        self._guard(limit)
        symbols = {name: sympy.Symbol(name) for name in self.variables}
        terms = []
        for m, c in self.ordered():
            powers = [sympy.Pow(symbols[name], e) for name, e in m]
            terms.append(sympy.Mul(sympy.Integer(c), *powers))
        return sympy.Add(*terms)

    def _guard(self, limit: int) -> None:
        if len(self) > limit:
            raise LimitError(f"the polynomial has {len(self):,} monomials, more than limit={limit:,}: raise limit.")

    def _join(
        self,
        dot: str,
        name: Callable[[str], str],
        raised: Callable[[int], str],
        limit: int,
        grouped: Callable[[str], str] = str,
    ) -> str:
        self._guard(limit)
        rank = {variable: k for k, variable in enumerate(self.variables)}
        shown = []
        for m, c in self.ordered():
            powers = sorted(m, key=lambda factor: rank[factor[0]])
            factors = [name(v) if e == 1 else grouped(name(v)) + raised(e) for v, e in powers]
            shown.append(dot.join([str(c), *factors] if c > 1 or not factors else factors))
        return " + ".join(shown)

    def __str__(self) -> str:
        return self.text()


def as_polynomial(value: Polynomial | str | int) -> Polynomial:
    """Return a number, or a variable's name, as a polynomial."""
    if isinstance(value, Polynomial):
        return value
    return Polynomial.variable(value) if isinstance(value, str) else Polynomial.constant(value)


def power(x: K, exponent: int, times: Callable[[K, K], K], one: K) -> K:
    """Return `x` times itself, `exponent` times, in the order of doubling; `one` for no factor."""
    if not exponent:
        return one
    # Squarings until the lowest set bit, from there on products: no element is taken for "nothing yet", None included.
    while not exponent & 1:
        x, exponent = times(x, x), exponent >> 1
    result, exponent = x, exponent >> 1
    while exponent:
        x = times(x, x)
        result = times(result, x) if exponent & 1 else result
        exponent >>= 1
    return result
