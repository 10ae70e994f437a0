"""Formulas: what they print is what the gates are, and how long it is is known before it is printed."""

from __future__ import annotations

import operator
import re

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from provnet.circuit.gates import PLUS, TIMES, GateStore, Neuron, Variable
from provnet.errors import LimitError, OptionError, ParseError, UnknownNameError, ValuationError
from provnet.symbolic.canonical import Builder
from provnet.symbolic.formula import Formula, formula
from provnet.symbolic.notation import latex_variable, quoted, unquoted
from provnet.symbolic.parse import parse
from provnet.symbolic.size import CEILING, spell
from tests.gate_circuits import fold_polynomials, recursive, stores

ODD_NAMES = st.text(st.sampled_from("ab1 0_⊕*+()=`\\<-\n[]r"), max_size=6)


def chain(steps: int, kind: int = TIMES) -> GateStore:
    """x, x ⊗ x, (x ⊗ x) ⊗ (x ⊗ x), …: 2**steps leaves in `steps` gates."""
    builder = Builder()
    gate = builder.variable(Variable("x"))
    for _ in range(steps):
        gate = builder.combine(kind, [gate, gate])
    return builder.store([gate], [Neuron("x", (0,))])


# --- text ------------------------------------------------------------------------------------------------------------


def test_shared_gates_are_defined_once_and_products_need_no_brackets_in_sums():
    written = "let r1 = a ⊕ b\n(r1 ⊗ r1 ⊕ c) ⊗ r1 ⊕ r1 ⊗ a"
    assert str(parse(written)) == written
    assert parse(written).text(unicode=False) == "let r1 = a + b\n(r1 * r1 + c) * r1 + r1 * a"


@pytest.mark.guarantee("a printed formula reads back as itself")
@given(stores(), st.booleans(), st.sampled_from([5, 30, 100]))
def test_a_printed_formula_is_read_back_as_itself(store, unicode, width):
    found = formula(store, int(store.root_gates[0]))
    assert parse(found.text(unicode, width=width)) == found


@given(ODD_NAMES)
def test_any_name_of_a_variable_survives(name):
    assert unquoted(quoted(name)) == name
    builder = Builder()
    gates = [builder.variable(Variable(n)) for n in (name, "other")]
    shared = builder.combine(PLUS, gates)
    root = builder.combine(PLUS, [builder.combine(TIMES, [shared, shared]), gates[0]])
    found = formula(builder.store([root], [Neuron("x", ())]))
    assert parse(str(found)) == found


def test_shared_gates_are_not_called_like_variables():
    found = parse("let r1 = r ⊕ b\nr1 ⊗ r1 ⊗ s7")
    builder = Builder()
    gates = [builder.variable(Variable(n)) for n in ("r1", "s2")]
    shared = builder.combine(PLUS, gates)
    clash = formula(builder.store([builder.combine(TIMES, [shared, shared])], [Neuron("x", ())]))
    assert str(found).startswith("let r1")
    assert str(clash) == "let t1 = r1 ⊕ s2\nt1 ⊗ t1"


def test_long_sums_are_continued_with_their_operators_below_each_other():
    names = [f"variable_{k}" for k in range(12)]
    lines = parse(" + ".join(names)).text(width=60).splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 60
    assert all(line.startswith("⊕ ") for line in lines[1:])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "column 1: found the end, wanted a variable"),
        ("a ⊕", "found the end"),
        ("(a", "found the end, wanted '\\)'"),
        ("a)", "line 1, column 2"),
        ("a b = c", "found '='"),
        ("let r1 = a", "found the end"),
        ("let x a", "found 'let x a'"),
        ("a\nb", "line 2, column 1"),
        ("`abc", "found '`'"),
        ("let r = a\nlet r = b\nr", "defined twice"),
    ],
)
def test_a_text_that_is_no_formula_is_refused_with_the_place(text, place):
    with pytest.raises(ParseError, match=place):
        parse(text)


def test_depth_is_bounded_by_neither_printing_nor_reading():
    deep = "(" * 3000 + "a + b) * c" + " + a) * c" * 2999
    assert parse(str(parse(deep))) == parse(deep)


# --- sizes -----------------------------------------------------------------------------------------------------------


@given(stores())
def test_the_number_of_symbols_is_the_number_printed(store):
    found = formula(store, int(store.root_gates[0]))
    printed = re.findall(r"let|[a-z0-9]+", str(found).replace("let ", ""))
    assert len(printed) == found.symbols


@pytest.mark.guarantee("the number of terms is computed before anything is unfolded")
@given(stores(gates=7))
def test_the_number_of_terms_is_that_of_the_unfolded_polynomial(store):
    found = formula(store, int(store.root_gates[0]))
    assume(found.terms < 300)
    by_hand = fold_polynomials(found.store, recursive, lambda v: v.name)[0]
    assert found.terms == sum(by_hand.values())


def test_sizes_of_what_could_never_be_unfolded_are_known_at_once():
    sums = formula(chain(500, PLUS))
    assert sums.terms == sums.leaves == 2**500
    assert formula(chain(100_000, PLUS)).terms == CEILING
    assert spell(2**500).startswith("about 10^151")
    assert spell(CEILING) == "at least 2^65536"
    assert str(formula(chain(2))) == "let r1 = x ⊗ x\nr1 ⊗ r1"


@pytest.mark.guarantee("a formula above the limit is refused with its exact length, before it is unfolded")
def test_too_long_a_formula_is_refused_with_its_exact_length():
    found = parse(" + ".join(f"x{k}" for k in range(40)))
    with pytest.raises(LimitError, match="40 symbols in 41 gates"):
        found.text(limit=39)
    with pytest.raises(LimitError, match="40 symbols"):
        found.latex(limit=39)
    assert found.text(limit=40).count("x") == 40


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.guarantee("a formula has the value of its gates in every semiring")
@given(stores(), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_a_formula_has_the_value_of_its_gate(store, numbers):
    """A valuation extends to just one homomorphism (Green et al. 2007, Prop. 4.2), so both ways round agree."""
    values = {v.name: n for v, n in zip(store.variables, numbers, strict=True)}
    found = formula(store, int(store.root_gates[0])).fold(max, operator.add, -1, 0, values)
    assert found == recursive(store, max, operator.add, -1, 0, lambda v: values[v.name])[0]


def test_a_missing_value_is_named():
    with pytest.raises(ValuationError, match="'b'"):
        parse("a + b").fold(operator.add, operator.mul, 0, 1, {"a": 1})


def test_a_root_is_found_by_neuron_name_or_gate():
    builder = Builder()
    x, y = (builder.variable(Variable(n)) for n in "xy")
    store = builder.store([x, y], [Neuron("in", (0,)), Neuron("in", (1,))])
    assert formula(store, "in[1]") == formula(store, Neuron("in", (1,))) == formula(store, y)
    assert len({formula(store, "in[1]"), formula(store, y), formula(store, x)}) == 2
    with pytest.raises(UnknownNameError, match=r"in\[2\] is no root.*in\[0\], in\[1\]"):
        formula(store, "in[2]")
    with pytest.raises(OptionError, match="there is no gate 2"):
        formula(store, 2)
    with pytest.raises(OptionError, match="has 2 roots"):
        formula(store)


# --- sympy -----------------------------------------------------------------------------------------------------------


@given(stores(gates=6))
def test_sympy_gives_the_same_number(store):
    found = formula(store, int(store.root_gates[0]))
    assume(found.leaves < 100)
    values = {f"v{i}": i + 2 for i in range(4)}
    expression = found.sympy().xreplace({sympy.Symbol(n): sympy.Integer(v) for n, v in values.items()})
    assert expression.doit() == found.fold(operator.add, operator.mul, 0, 1, values)


def test_sympy_keeps_the_form_and_has_a_guard():
    expression = parse("(a + b) * (a + b) + a * b").sympy()
    assert isinstance(expression, sympy.Add)
    assert len(expression.args) == 2
    assert expression.atoms(sympy.Symbol) == set(sympy.symbols("a b"))
    with pytest.raises(LimitError, match=r"1,024 leaves, more than limit=1,000"):
        formula(chain(10)).sympy()


# --- LaTeX -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("fc1[2<-0]", r"x^{\mathrm{fc1}}_{0 \to 2}"),
        ("fc1[2<-bias]", r"x^{\mathrm{fc1}}_{\mathrm{bias} \to 2}"),
        ("features.0[1,2,3<-0,4]", r"x^{\mathrm{features.0}}_{0,4 \to 1,2,3}"),
        ("add_1[3<-relu[3]]", r"x^{\mathrm{add\_1}}_{\mathrm{relu}_{3} \to 3}"),
        ("add[3<-1:fc1#0[3]]", r"x^{\mathrm{add}}_{\mathrm{1:fc1\#0}_{3} \to 3}"),
        ("w fc1[7]", r"w^{\mathrm{fc1}}_{7}"),
        ("input[3]", r"x^{\mathrm{input}}_{3}"),
        ("w12", "w_{12}"),
        ("x", "x"),
        ("any name", r"\mathrm{any\ name}"),
    ],
)
def test_variables_in_latex(name, latex):
    assert latex_variable(name) == latex


def test_latex_is_one_line_or_an_aligned_list():
    assert parse("a * b + c").latex() == r"R_{\mathrm{formula}} = a \otimes b \oplus c"
    lines = parse("let r1 = a + b\nr1 * r1").latex().splitlines()
    assert lines[0] == r"\begin{aligned}"
    assert lines[1] == r"r_{1} &= a \oplus b \\"
    assert lines[2] == r"R_{\mathrm{formula}} &= r_{1} \otimes r_{1}"


@given(stores())
def test_latex_has_balanced_braces_and_left_with_right(store):
    text = formula(store, int(store.root_gates[0])).latex()
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")
    assert text.count(r"\begin{aligned}") == text.count(r"\end{aligned}") <= 1


def test_formulas_of_equal_expressions_are_equal_whatever_the_gates_are_called():
    """Merging equal gates and leaving out sums of one term changes no expression."""
    store = GateStore(
        kind=np.array([2, 2, 3, 3, 4, 3], np.uint8),  # x, y, x+y, x+y again, their product, a sum of one
        first=np.array([0, 0, 0, 2, 4, 6, 7]),
        operands=np.array([0, 1, 0, 1, 2, 3, 4], np.int32),
        variable=np.array([0, 1, -1, -1, -1, -1], np.int32),
        variables=(Variable("x"), Variable("y")),
        roots=(Neuron("n", ()),),
        root_gates=np.array([5], np.int32),
    )
    found = formula(store)
    assert isinstance(found, Formula)
    assert found == parse("let r1 = x + y\nr1 * r1")
    assert found != parse("(x + y) * (y + x)")
    assert "3 symbols" not in repr(found)
    assert repr(found) == "<Formula of n: 5 symbols, 4 terms>"
