"""Structural hashes: the same for circuits that are built alike, and different where anything else differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.expand import expand
from provnet.circuit.fingerprint import structural_hashes
from provnet.circuit.gates import PLUS, TIMES, VARIABLE, GateStore
from provnet.circuit.hash_cons import hash_cons
from tests.gate_circuits import make_store, perceptron, stores


def expression(store: GateStore, gate: int):
    """The slow twin: a gate as nested tuples, operands sorted."""
    kind = int(store.kind[gate])
    if kind == VARIABLE:
        return kind, store.variables[store.variable[gate]].name
    below = sorted((expression(store, int(o)) for o in store.operands_of(gate)), key=repr)
    return (kind, *below)


@given(stores(gates=12), stores(gates=12))
@pytest.mark.guarantee("structural hashes are equal just where circuits are built alike, up to order and sharing")
def test_hashes_are_equal_just_where_expressions_are(a, b):
    one, two = structural_hashes(a), structural_hashes(b)
    for i, gate in enumerate(a.root_gates):
        for j, other in enumerate(b.root_gates):
            assert (one[i] == two[j]) == (expression(a, int(gate)) == expression(b, int(other)))


@given(stores(gates=12), st.randoms(use_true_random=False))
def test_the_order_of_operands_and_sharing_do_not_matter(store, random):
    operands = store.operands.copy()
    for gate in range(len(store)):
        part = operands[store.first[gate] : store.first[gate + 1]].tolist()
        random.shuffle(part)
        operands[store.first[gate] : store.first[gate + 1]] = part
    assert structural_hashes(replace(store, operands=operands)) == structural_hashes(store)
    assert structural_hashes(hash_cons(store)) == structural_hashes(store)


def test_the_hash_is_the_same_on_every_machine():
    store = make_store([VARIABLE, VARIABLE, PLUS, TIMES], [[], [], [0, 1], [2, 0]], [0, 1, -1, -1], 2, [3])
    assert structural_hashes(store) == (KNOWN,)


KNOWN = "5bc5a42e3885ddb9888131b0c19820f9"


def test_variables_count_by_name_not_by_number():
    store = expand(perceptron(2, 3, 2).circuit(), 1)
    turned = replace(
        store,
        variables=tuple(store.variables)[::-1],
        variable=np.where(store.variable < 0, -1, len(store.variables) - 1 - store.variable).astype(np.int32),
    )
    assert structural_hashes(turned) == structural_hashes(store)
