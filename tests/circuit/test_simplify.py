"""Merging and simplifying change no value in the semirings they are allowed for."""

from __future__ import annotations

import dataclasses
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit import hash_cons as module
from provnet.circuit.fold import fold
from provnet.circuit.gate_check import check
from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore
from provnet.circuit.hash_cons import hash_cons
from provnet.circuit.simplify import simplify
from provnet.errors import OptionError
from tests.gate_circuits import make_store, same_arrays, stores

NATURALS = (operator.add, operator.mul, 0, 1)


def by_content(store: GateStore) -> int:
    """The slow twin: a dictionary of tuples. Return how many different gates the roots need."""
    seen: dict[tuple, int] = {}
    number: list[int] = []
    for gate in range(len(store)):
        own = tuple(sorted(number[o] for o in store.operands_of(gate)))
        number.append(seen.setdefault((int(store.kind[gate]), int(store.variable[gate]), own), len(seen)))
    contents = {n: key for key, n in seen.items()}
    needed, ways = set(), [number[g] for g in store.root_gates]
    while ways:
        gate = ways.pop()
        if gate not in needed:
            needed.add(gate)
            ways += contents[gate][2]
    return len(needed)


@given(stores(gates=25, variables=3))
def test_merging_finds_every_repetition(store):
    merged = check(hash_cons(store))
    assert len(merged) == by_content(store) == by_content(merged)
    prime = [5, 7, 11]
    arguments = (*NATURALS, lambda v: prime[int(v.name[1:])])
    assert fold(merged, *arguments) == fold(store, *arguments)
    assert same_arrays(hash_cons(merged), merged)


@given(stores(gates=25, variables=3))
def test_colliding_hashes_merge_nothing_that_differs(store):
    """With one hash for all, every merge rests on the comparison that follows it."""
    original = module.hash_rows
    module.hash_rows = lambda wires: np.zeros(len(wires.fan), np.uint64)
    try:
        assert len(hash_cons(store)) == by_content(store)
    finally:
        module.hash_rows = original


def test_swapped_operands_of_times_merge_under_an_assumption():
    store = make_store([VARIABLE] * 2 + [TIMES] * 2, [[], [], [0, 1], [1, 0]], [0, 1, -1, -1], 2, [2, 3])
    assert hash_cons(store).assumption == {"commutative"}
    plain = dataclasses.replace(store, operands=np.array([0, 1, 0, 1], np.int32))
    assert hash_cons(plain).assumption == frozenset()
    assert len(hash_cons(plain)) == 3
    plus = dataclasses.replace(store, kind=np.array([VARIABLE] * 2 + [PLUS] * 2, np.uint8))
    assert hash_cons(plus).assumption == frozenset()


# Elements, plus, times, zero, one, and the flags that hold of them.
ALGEBRAS = {
    "naturals": ([0, 1, 2, 3], operator.add, operator.mul, 0, 1, ()),
    "tropical": ([0, 1, 2, float("inf")], min, operator.add, float("inf"), 0, ("idempotent", "absorptive")),
    "max-plus": ([float("-inf"), -1, 0, 2], max, operator.add, float("-inf"), 0, ("idempotent",)),
    "bottleneck": ([0, 1, 2, 9], max, min, 0, 9, ("idempotent", "absorptive", "times_idempotent")),
    "integers mod 2": ([0, 1], operator.xor, operator.and_, 0, 1, ("times_idempotent",)),
}


@pytest.mark.guarantee("simplification changes no value in a semiring with the flags it used")
@pytest.mark.parametrize("name", ALGEBRAS)
@given(stores(gates=25, variables=3), st.data())
def test_simplifying_changes_no_value(name, store, data):
    elements, plus, times, zero, one, flags = ALGEBRAS[name]
    values = [data.draw(st.sampled_from(elements)) for _ in store.variables]
    simple = check(simplify(store, flags))
    arguments = (plus, times, zero, one, lambda v: values[int(v.name[1:])])
    assert fold(simple, *arguments) == fold(store, *arguments)
    assert simple.assumption <= set(flags) | {"commutative"}
    assert len(simple) <= len(store)
    assert simple.variables == store.variables
    assert same_arrays(simplify(simple, flags), simple)


@given(stores(gates=20))
def test_no_constant_and_no_single_operand_survives(store):
    simple = simplify(store)
    assert (simple.fan[simple.kind >= PLUS] > 1).all()
    constants = np.flatnonzero(simple.kind == ZERO)
    assert not np.isin(simple.operands, constants).any()
    ones = np.flatnonzero(simple.kind == ONE)
    times = simple.wires_of(np.flatnonzero(simple.kind == TIMES))[1]
    assert not np.isin(times, ones).any()


def leaf_store(kind: int, operands: list[int]) -> GateStore:
    """One gate over the leaves zero (0), one (1), v0 (2), v1 (3)."""
    return make_store([ZERO, ONE, VARIABLE, VARIABLE, kind], [[]] * 4 + [operands], [-1, -1, 0, 1, -1], 2, [4])


@pytest.mark.parametrize(
    ("kind", "operands", "flags", "left", "used"),
    [
        (PLUS, [2, 0], (), ["v0"], set()),
        (TIMES, [2, 0, 3], (), ["zero"], set()),
        (TIMES, [1, 2, 1], (), ["v0"], set()),
        (TIMES, [1, 1], (), ["one"], set()),
        (PLUS, [0, 0], (), ["zero"], set()),
        (PLUS, [2, 2], (), ["plus"], set()),
        (PLUS, [2, 2], ("idempotent",), ["v0"], {"idempotent"}),
        (PLUS, [2, 3], ("idempotent",), ["plus"], set()),
        (PLUS, [1, 2], ("idempotent",), ["plus"], set()),
        (PLUS, [1, 2], ("absorptive",), ["one"], {"absorptive"}),
        (PLUS, [1, 1], ("absorptive",), ["one"], {"absorptive"}),
        (PLUS, [1, 0], ("absorptive",), ["one"], set()),
        (TIMES, [2, 2], ("idempotent",), ["times"], set()),
        (TIMES, [2, 2], ("times_idempotent",), ["v0"], {"times_idempotent"}),
        (TIMES, [2, 2, 0], ("times_idempotent",), ["zero"], set()),
    ],
)
def test_each_law_and_the_flag_it_needs(kind, operands, flags, left, used):
    simple = simplify(leaf_store(kind, operands), flags)
    root = simple.root_gates[0]
    shown = {ZERO: "zero", ONE: "one", PLUS: "plus", TIMES: "times", VARIABLE: f"v{simple.variable[root]}"}
    assert [shown[int(simple.kind[root])]] == left
    assert simple.assumption == used


def test_a_product_is_absorbed_by_its_factor():
    """x ⊕ (x ⊗ y) ⊕ y ⊗ y = x ⊕ y ⊗ y in an absorptive semiring."""
    store = make_store(
        [VARIABLE, VARIABLE, TIMES, TIMES, PLUS], [[], [], [0, 1], [1, 1], [0, 2, 3]], [0, 1, -1, -1, -1], 2, [4]
    )
    simple = simplify(store, ["absorptive"])
    assert simple.operands_of(int(simple.root_gates[0])).tolist() == [0, 2]
    assert simple.assumption == {"absorptive"}
    assert len(simplify(store, ["idempotent"])) == 5


def test_equal_gates_on_different_levels_meet():
    """(x ⊗ 1) ⊗ y is x ⊗ y once 1 is gone, and then x ⊗ y ⊕ x ⊗ y has a repetition."""
    store = make_store(
        [VARIABLE, VARIABLE, ONE, TIMES, TIMES, TIMES, PLUS],
        [[], [], [], [0, 2], [3, 1], [0, 1], [4, 5]],
        [0, 1, -1, -1, -1, -1, -1],
        2,
        [6],
    )
    simple = simplify(store, ["idempotent"])
    assert len(simple) == 3
    assert simple.assumption == {"idempotent"}


def test_flags_must_be_names():
    with pytest.raises(OptionError, match="idempotent"):
        simplify(leaf_store(PLUS, [2]), [True])  # pyright: ignore[reportArgumentType]
