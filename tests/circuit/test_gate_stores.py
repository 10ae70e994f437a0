"""Columns of gates: levels, folds, counts, cones and checks against plain recursion."""

from __future__ import annotations

import dataclasses
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.counts import count_terms, gate_stats
from provnet.circuit.expand import expand
from provnet.circuit.fold import fold
from provnet.circuit.gate_check import check
from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, GateStore, levels, ragged
from provnet.circuit.hash_cons import restrict
from provnet.circuit.variables import find_variable
from provnet.errors import CircuitError, UnknownNameError
from tests.gate_circuits import make_store, perceptron, recursive, stores


def slow_levels(store: GateStore) -> list[int]:
    found: list[int] = []
    for gate in range(len(store)):
        found.append(max((found[o] + 1 for o in store.operands_of(gate)), default=0))
    return found


@given(stores(gates=30))
def test_levels_and_wires_are_those_of_a_loop(store):
    assert store.level.tolist() == slow_levels(store)
    assert [g for gates in store.by_level for g in gates] == sorted(range(len(store)), key=lambda g: store.level[g])
    for gates in store.by_level:
        rows, operands = store.wires_of(gates)
        assert operands.tolist() == [o for g in gates for o in store.operands_of(g)]
        assert rows.tolist() == [r for r, g in enumerate(gates) for _ in store.operands_of(g)]


def test_the_levels_of_a_long_chain_and_of_a_wide_run():
    chain = make_store([VARIABLE] + [PLUS] * 300, [[]] + [[i] for i in range(300)], [0] + [-1] * 300, 1, [300])
    assert chain.level.tolist() == list(range(301))
    wide = make_store([VARIABLE] + [PLUS] * 300, [[]] + [[0]] * 299 + [[299]], [0] + [-1] * 300, 1, [300])
    assert wide.level.tolist() == [0] + [1] * 299 + [2]


def test_ragged_ranges():
    assert ragged(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
    assert levels(np.array([0]), np.zeros(0, np.int32)).tolist() == []


@given(stores(), st.lists(st.integers(-3, 3), min_size=4, max_size=4))
def test_folding_is_recursion(store, values):
    valuation = dict(zip((v.name for v in store.variables), values, strict=True))
    arguments = (operator.add, operator.mul, 0, 1, lambda v: valuation[v.name])
    assert fold(store, *arguments) == recursive(store, *arguments)


@given(stores())
def test_folding_keeps_the_order_of_operands(store):
    """Strings do not commute: a law of the fold, not of the elements."""
    arguments = (lambda a, b: f"({a}+{b})", lambda a, b: f"({a}{b})", "0", "1", str)
    assert fold(store, *arguments) == recursive(store, *arguments)


@given(stores(gates=25))
def test_terms_are_counted_exactly(store):
    assert count_terms(store) == recursive(store, operator.add, operator.mul, 0, 1, lambda v: 1)


@pytest.mark.guarantee("numbers of terms are exact Python integers beyond 2^63")
def test_terms_beyond_int64_are_counted_exactly():
    """200 doublings, then a square: 2^400."""
    kind = [VARIABLE] + [PLUS] * 200 + [TIMES]
    operands = [[]] + [[i, i] for i in range(200)] + [[200, 200]]
    store = make_store(kind, operands, [0] + [-1] * 201, 1, [62, 63, 200, 201])
    assert count_terms(store) == (2**62, 2**63, 2**200, 2**400)


def test_stats():
    stats = gate_stats(expand(perceptron(3, 2, 2).circuit(), 0))
    assert (stats.gates, stats.wires, stats.depth, stats.variables, stats.roots) == (8 + 6 + 3, 12 + 6, 2, 8, 3)
    assert stats.kinds == {"zero": 0, "one": 0, "variable": 8, "plus": 3, "times": 6}


@given(stores(gates=25), st.data())
def test_a_cone_has_the_value_of_its_roots(store, data):
    chosen = data.draw(st.lists(st.integers(0, len(store.roots) - 1), unique=True))
    cone = check(restrict(store, chosen))
    assert cone.roots == tuple(store.roots[i] for i in chosen)
    arguments = (operator.add, operator.mul, 0, 1, lambda v: 3 + int(v.name[1:]))
    assert fold(cone, *arguments) == tuple(fold(store, *arguments)[i] for i in chosen)
    needed: set[int] = set()
    ways = [int(store.root_gates[i]) for i in chosen]
    while ways:
        gate = ways.pop()
        if gate not in needed:
            needed.add(gate)
            ways += store.operands_of(gate).tolist()
    assert len(cone) == len(needed)


# --- variables --------------------------------------------------------------------------------------------------------


def test_variables_are_made_when_asked():
    table = expand(perceptron(3, 4, 2).circuit(), 1).variables
    everything = list(table)
    assert len(table) == 16 == len(everything)
    assert [table[i] for i in range(-16, 16)] == everything * 2
    assert table[3:9:2] == tuple(everything[3:9:2])
    assert table.index(everything[7]) == 7
    assert find_variable(table, "fc2[1<-3]") == find_variable(table, everything[-1]) == 15
    with pytest.raises(IndexError):
        table[16]
    with pytest.raises(UnknownNameError, match=r"fc9.*fc1"):
        find_variable(table, "fc9[0<-0]")


# --- checks -----------------------------------------------------------------------------------------------------------

GOOD = make_store([VARIABLE, ONE, TIMES, PLUS], [[], [], [0, 0], [2, 1]], [0, -1, -1, -1], 1, [3])


def as_column(values, name):
    """Whole numbers in the dtype of a column; others as they are."""
    whole = all(isinstance(value, int) for value in values)
    return np.array(values, getattr(GOOD, name).dtype if whole else None)


@pytest.mark.guarantee("columns of gates have the dtypes that compiled loops read, or are refused")
@pytest.mark.parametrize("column", ["kind", "first", "operands", "variable", "root_gates"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint64, np.float64])
def test_columns_of_other_dtypes_are_refused(column, dtype):
    """A kind of -1 as int8 was taken for a leaf, and then for a sum without operands."""
    with pytest.raises(CircuitError, match=f"`{column}` holds"):
        check(dataclasses.replace(GOOD, **{column: np.array(getattr(GOOD, column)).astype(dtype)}))
    with pytest.raises(CircuitError, match=f"`{column}` holds"):
        check(dataclasses.replace(GOOD, **{column: getattr(GOOD, column)[None]}))


@pytest.mark.guarantee("malformed gates are refused: cycles, unknown kinds, missing operands, indices out of range")
@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("kind", [2, 1, 4, 9], "unknown kind"),
        ("kind", [2, 1, 4, 2], "though they are leaves"),
        ("operands", [0, 0, 3, 1], "cycle"),
        ("operands", [0, 0, 4, 1], "does not exist"),
        ("operands", [0, 0, -1, 1], "does not exist"),
        ("first", [0, 0, 0, 0, 4], "no operands"),
        ("first", [0, 0, 0, 2, 3], "ascend"),
        ("first", [0, 0, 2, 4], "entries"),
        ("variable", [1, -1, -1, -1], "outside"),
        ("variable", [0, 0, -1, -1], "no variables"),
        ("root_gates", [4], "does not exist"),
        ("root_gates", [3, 2], "1 roots have 2 gates"),
        ("operands", [0.0, 0.0, 2.0, 1.0], "wants a row of int32"),
    ],
)
def test_malformed_gates_are_refused(column, value, match):
    assert check(GOOD) is GOOD
    with pytest.raises(CircuitError, match=match):
        check(dataclasses.replace(GOOD, **{column: as_column(value, column)}))


def test_names_must_be_unique():
    with pytest.raises(CircuitError, match="two variables are called 'v0'"):
        check(dataclasses.replace(GOOD, variables=(*GOOD.variables, *GOOD.variables)))
    with pytest.raises(CircuitError, match="two roots"):
        check(dataclasses.replace(GOOD, roots=GOOD.roots * 2, root_gates=np.array([3, 2], np.int32)))
