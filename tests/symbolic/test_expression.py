"""Expressions that are kept as they were made, and are equal where the laws make them so."""

from __future__ import annotations

import pytest

from provnet.errors import LimitError, ValuationError
from provnet.symbolic.carriers.base import get
from provnet.symbolic.parse import parse


def read(name: str, text: str):
    k = get(name)
    return parse(text).fold(k.plus, k.times, k.zero, k.one, k.variable)


@pytest.mark.guarantee("Formula elements are equal exactly if their polynomials are, BoolExpr ones if equivalent")
@pytest.mark.parametrize(
    ("left", "right", "free", "boolean"),
    [
        ("a * (b + c)", "c * a + b * a", True, True),
        ("a + (b + c)", "(a + b) + c", True, True),
        ("a + a * b", "a", False, True),
        ("a + a", "a", False, True),
        ("a * a", "a", False, True),
        ("(a + b) * (a + c)", "a + b * c", False, True),
        ("a * b", "a + b", False, False),
        ("a", "b", False, False),
    ],
)
def test_equality_is_by_the_laws(left, right, free, boolean):
    assert (read("formula", left) == read("formula", right)) == free
    assert (read("boolexpr", left) == read("boolexpr", right)) == boolean
    assert not boolean or hash(read("boolexpr", left)) == hash(read("boolexpr", right))


def test_a_fold_prints_as_the_formula_that_was_folded():
    for text in ("a ⊗ b ⊕ c ⊗ d ⊕ e", "a ⊗ (b ⊕ c) ⊗ d", "a ⊕ 1"):
        assert str(read("formula", text)) == text
    assert str(read("boolexpr", "a * (b + c)")) == "a ∧ (b ∨ c)"


def test_shared_parts_stay_shared():
    """Sixty doublings: 2⁶⁰ terms, a formula of 60 lines. A part that is used twice is copied into neither use."""
    k = get("formula")
    x = k.plus(k.variable("a"), k.variable("b"))
    for _ in range(60):
        x = k.plus(x, x)
    assert x.formula.terms == 2**61
    assert len(x.formula.store) == 63
    assert x == x.plus(k.zero)


def test_a_long_chain_needs_no_recursion():
    k = get("formula")
    x = k.zero
    for number in range(5_000):
        x = k.plus(k.times(x, k.variable("s")), k.variable(f"v{number}"))
    assert x.formula.terms == 5_000


def test_a_boolean_normal_form_that_would_be_too_long_is_refused():
    k = get("boolexpr")
    left, right = k.one, k.one
    for number in range(20):
        a, b = k.variable(f"a{number}"), k.variable(f"b{number}")
        left, right = k.times(left, k.plus(a, b)), k.times(right, k.plus(b, a))
    with pytest.raises(LimitError, match=r"terms before absorption"):
        assert left == right


def test_elements_of_two_carriers_do_not_meet():
    free, boolean = get("formula").variable("a"), get("boolexpr").variable("a")
    assert free != boolean
    for operation in (get("formula").plus, get("formula").times):
        with pytest.raises(ValuationError, match="a FreeExpression meets a BooleanExpression"):
            operation(free, boolean)


def test_unequal_expressions_are_told_apart_without_multiplying_out():
    k = get("formula")
    left = k.one
    for number in range(40):
        left = k.times(left, k.plus(k.variable(f"a{number}"), k.variable(f"b{number}")))
    assert left.formula.terms == 2**40
    assert left != k.plus(left, k.variable("a0"))
