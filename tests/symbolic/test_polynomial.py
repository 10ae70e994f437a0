"""ℕ[X]: the laws of the free commutative semiring, and the fast form against the slow one."""

from __future__ import annotations

import operator

import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from provnet.circuit.gates import Neuron, Variable
from provnet.errors import LimitError, OptionError, ValuationError
from provnet.symbolic import polynomial_rows
from provnet.symbolic.canonical import Builder, cone
from provnet.symbolic.expand_polynomial import distinct_at_most, expand, polynomial
from provnet.symbolic.formula import formula
from provnet.symbolic.parse import parse
from provnet.symbolic.polynomial import Polynomial, monomial
from provnet.symbolic.size import terms
from tests.gate_circuits import stores

NAMES: tuple[str, ...] = ("x1", "x2", "x10")


@st.composite
def polynomials(draw: st.DrawFn) -> Polynomial:
    exponents = st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers(0, 2)))
    found = draw(st.lists(st.tuples(exponents, st.integers(1, 3)), max_size=4))
    return Polynomial({monomial(e): c for e, c in found})


ZERO, ONE = Polynomial(), Polynomial.constant(1)
A, B = Polynomial.variable("a"), Polynomial.variable("b")


def tied_convolution(taps: int = 3, layers: int = 3) -> Polynomial:
    """One output of a convolution with `taps` weights, applied `layers` times: shared variables give powers."""
    builder = Builder()
    weights = [builder.variable(Variable(f"w{i}")) for i in range(taps)]
    relevance = {taps // 2 * layers: builder.constant(1)}
    for _ in range(layers):
        below: dict[int, list[int]] = {}
        for place, gate in relevance.items():
            for tap, weight in enumerate(weights):
                below.setdefault(place + tap - taps // 2, []).append(builder.combine(4, [weight, gate]))
        relevance = {place: builder.combine(3, gates) for place, gates in below.items()}
    place = taps // 2 * layers
    return polynomial(builder.store([relevance[place]], [Neuron("x", (place,))]))


def test_a_tied_convolution_shows_powers_and_multiplicities():
    """The worked example: a 3-tap convolution applied three times; the centre comes back to itself in seven ways."""
    found = tied_convolution()
    assert str(found) == "6·w0·w1·w2 + w1³"
    assert found.text(unicode=False) == "6*w0*w1*w2 + w1^3"
    assert found.latex() == r"6\,w_{0}\,w_{1}\,w_{2} + {w_{1}}^{3}"
    assert (found.degree, found.variables, found.paths, len(found)) == (3, ("w0", "w1", "w2"), 7, 2)
    w = sympy.symbols("w0 w1 w2")
    assert found.sympy().doit() == 6 * w[0] * w[1] * w[2] + w[1] ** 3


@given(polynomials(), polynomials(), polynomials())
def test_the_laws_of_a_commutative_semiring(x, y, z):
    assert x + y == y + x
    assert x * y == y * x
    assert (x + y) + z == x + (y + z)
    assert (x * y) * z == x * (y * z)
    assert x * (y + z) == x * y + x * z
    assert (x + ZERO, x * ONE, x * ZERO) == (x, x, ZERO)
    assert hash(x + y) == hash(y + x)


@given(polynomials(), polynomials(), st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers(0, 3))))
def test_a_valuation_is_a_homomorphism(x, y, values):
    assert (x + y).evaluate(values) == x.evaluate(values) + y.evaluate(values)
    assert (x * y).evaluate(values) == x.evaluate(values) * y.evaluate(values)
    best = [p.specialise(values, max, operator.add, -99, 0) for p in (x, y, x * y)]
    assert best[2] == (best[0] + best[1] if x.terms and y.terms else -99)


@given(polynomials(), polynomials())
def test_the_derivative_obeys_the_rule_of_products(x, y):
    assert (x * y).derivative("x1") == x.derivative("x1") * y + x * y.derivative("x1")


@given(polynomials(), polynomials(), st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers(0, 3))))
def test_substitution_comes_before_or_into_the_value(x, y, values):
    inner = {**values, "x1": y.evaluate(values)}
    assert x.substitute({"x1": y}).evaluate(values) == x.evaluate(inner)
    assert x.restrict(["x1"]).evaluate(values) == x.evaluate({"x1": values["x1"], "x2": 0, "x10": 0})


@given(polynomials(), st.integers(0, 4))
def test_powers_are_repeated_products(x, exponent):
    by_hand = ONE
    for _ in range(exponent):
        by_hand = by_hand * x
    assert x**exponent == by_hand


def test_how_polynomials_read():
    assert str(ZERO) == "0"
    assert str(ONE + 2 * A) == "2·a + 1"
    assert str(Polynomial.variable("x10") * Polynomial.variable("x2") + A**12) == "a¹² + x2·x10"
    assert str(Polynomial.variable("x*y") + 1) == "`x*y` + 1"
    assert (A + B + 3).restrict(["a"]) == A + 3
    with pytest.raises(LimitError, match="3 monomials"):
        (A + B + 3).text(limit=2)
    with pytest.raises(LimitError, match="3 monomials"):
        (A + B + 3).sympy(limit=2)
    with pytest.raises(ValuationError, match="'b'"):
        (A + B).evaluate({"a": 1})
    with pytest.raises(OptionError, match="natural"):
        Polynomial({(): -1})


# --- gates to polynomials --------------------------------------------------------------------------------------------


@given(stores(gates=8))
def test_unfolding_in_rows_equals_unfolding_in_dictionaries(store):
    below = formula(store, int(store.root_gates[0]))
    assume(below.terms < 500)
    slow = below.fold(operator.add, operator.mul, ZERO, ONE, Polynomial.variable)
    assert polynomial(store, int(store.root_gates[0])) == slow


@given(stores(gates=8))
def test_the_bound_on_distinct_monomials_holds(store):
    below = cone(store, [int(store.root_gates[0])], [Neuron("x", ())])
    assume(max(terms(below)) < 500)
    for gate, bound in enumerate(distinct_at_most(below)):
        assert len(polynomial(below, gate)) <= bound


def test_coefficients_beyond_64_bits_are_exact():
    store = parse(" * ".join(["(a + b)"] * 70)).store
    found = polynomial(store)
    assert found.paths == 2**70
    assert found.terms[monomial({"a": 35, "b": 35})] == 112186277816662845432  # 70 choose 35 > 2**63
    assert expand(store).coefficients.dtype == object


def test_a_huge_expansion_is_refused_before_anything_is_multiplied(monkeypatch):
    monkeypatch.setattr(polynomial_rows, "times", None)
    with pytest.raises(LimitError, match="1,099,511,627,776 monomials"):
        polynomial(parse(" * ".join(f"(a{i} + b{i})" for i in range(40))).store)


def test_a_huge_expansion_is_refused_with_its_exact_size():
    layers = [f"({' + '.join(f'x{layer}_{i}' for i in range(10))})" for layer in range(12)]
    with pytest.raises(LimitError, match="1,000,000,000,000 monomials"):
        polynomial(parse(" * ".join(layers)).store)
    with pytest.raises(LimitError, match="100 monomials"):
        polynomial(parse(" * ".join(layers[:2])).store, max_terms=99)
    assert len(polynomial(parse(" * ".join(layers[:2])).store, max_terms=100)) == 100
    with pytest.raises(LimitError, match="about 10"):
        polynomial(parse(" * ".join(layers * 90)).store)
