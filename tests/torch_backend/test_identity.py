"""Identity testing: certain where it says "different", and nearly so where it says "equal"."""

from __future__ import annotations

from dataclasses import replace
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.expand import expand
from provnet.circuit.gates import PLUS, TIMES, VARIABLE, Neuron
from provnet.circuit.hash_cons import hash_cons
from provnet.circuit.simplify import simplify
from provnet.errors import CircuitError, OptionError
from provnet.semirings.counting import is_prime
from provnet.torch_backend.gates.polynomial_identity import (
    error_bound,
    identity_test,
    largest_degree,
    log2_count,
    random_prime,
    semantic_hashes,
)
from tests.gate_circuits import make_store, perceptron, residual
from tests.listed_paths import modest_stores, polynomials


def first_root(store):
    return replace(store, roots=store.roots[:1], root_gates=store.root_gates[:1])


@given(modest_stores(gates=10), modest_stores(gates=10), st.integers(0, 2**32))
@pytest.mark.guarantee("identity testing says equal just where the polynomials are equal")
def test_the_answer_is_that_of_the_polynomials(a, b, seed):
    a, b = first_root(a), first_root(b)
    found = identity_test(a, b, seed=seed)
    assert found.equal == bool(found) == (polynomials(a) == polynomials(b))
    assert found.differing == (() if found else a.roots)
    assert (semantic_hashes(a) == semantic_hashes(b)) == found.equal


@given(modest_stores(gates=12))
def test_simplified_circuits_are_equal_to_what_they_were(store):
    for other in (simplify(store), hash_cons(store)):
        assert identity_test(store, other)
        assert semantic_hashes(store) == semantic_hashes(other)


def test_factored_and_expanded_forms_are_equal():
    """x(y + z) = xy + xz, which no structural hash sees."""
    leaves, names = [VARIABLE] * 3, [0, 1, 2]
    factored = make_store([*leaves, PLUS, TIMES], [[], [], [], [1, 2], [0, 3]], [*names, -1, -1], 3, [4])
    expanded = make_store(
        [*leaves, TIMES, TIMES, PLUS], [[], [], [], [0, 1], [0, 2], [3, 4]], [*names, -1, -1, -1], 3, [5]
    )
    found = identity_test(factored, expanded, trials=3)
    assert found
    assert 0 < found.error <= (2 / 2**30) ** 3
    assert "equal in every commutative semiring" in str(found)
    idempotent = make_store([*leaves, TIMES, PLUS], [[], [], [], [0, 1], [3, 3]], [*names, -1, -1], 3, [4])
    assert not identity_test(factored, idempotent)


@given(modest_stores(gates=12))
def test_the_bound_is_made_of_degree_and_coefficients(store):
    whole = [sum(found.values()) for found in polynomials(store)]
    degree = max((len(m) for found in polynomials(store) for m in found), default=0)
    assert largest_degree(store) == degree
    assert log2_count(store) == pytest.approx(log2(max(*whole, 1)), abs=2e-6)
    assert error_bound(store, store) == pytest.approx(degree / 2**30 + log2_count(store) // 30 / 4.8e7)


def test_a_count_beyond_floats_still_has_a_bound():
    kinds, operands = [VARIABLE, PLUS], [[], [0, 0]]
    for _ in range(11):
        kinds.append(TIMES)
        operands.append([len(kinds) - 2] * 2)
    store = make_store(kinds, operands, [0] + [-1] * 12, 1, [12])
    assert log2_count(store) == pytest.approx(2048, abs=1)
    assert error_bound(store, store) == pytest.approx(2048 / 2**30 + 68 / 4.8e7)


def test_what_differs_is_named_and_simplification_is_remembered():
    circuit = residual().circuit()
    a, b = expand(circuit, 0), expand(circuit, 1)
    found = identity_test(a, b)
    assert found.differing == a.roots
    assert found.error == 0
    assert "different: 3 roots" in str(found)
    x = make_store([VARIABLE, PLUS], [[], [0, 0]], [0, -1], 1, [1])
    small = simplify(x, ["idempotent"])
    assert identity_test(small, small).assumption == {"idempotent"}
    assert not identity_test(x, small)  # as polynomials


def test_variables_are_matched_by_name_and_roots_too():
    store = expand(perceptron(3, 4, 2).circuit(), 0)
    order = np.random.default_rng(0).permutation(len(store.variables))
    turned = replace(
        store,
        variables=tuple(store.variables[i] for i in np.argsort(order)),
        variable=np.where(store.variable < 0, -1, order[store.variable]).astype(np.int32),
        roots=store.roots[::-1],
        root_gates=store.root_gates[::-1].copy(),
    )
    assert identity_test(store, turned)
    assert semantic_hashes(turned) == semantic_hashes(store)[::-1]
    renamed = replace(store, roots=tuple(Neuron("other", root.index) for root in store.roots))
    with pytest.raises(CircuitError, match="different roots"):
        identity_test(store, renamed)
    with pytest.raises(OptionError, match="trials=0"):
        identity_test(store, store, trials=0)


def test_keys_change_hashes():
    store = expand(perceptron(2, 2, 2).circuit(), 0)
    assert semantic_hashes(store, key=1) != semantic_hashes(store)
    assert semantic_hashes(store, key=1) == semantic_hashes(store, key=1)


def test_primes_are_primes_of_the_range():
    random = np.random.default_rng(0)
    found = [random_prime(random) for _ in range(50)]
    assert all(2**30 <= p < 2**31 and is_prime(p) for p in found)
    assert len(set(found)) == 50
