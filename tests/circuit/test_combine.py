"""Union, sum and product of circuits mean what they say, in ℕ[X] and so in every semiring."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given

from provnet.circuit.combine import add, join_variables, multiply, same_variables, union
from provnet.circuit.expand import expand
from provnet.circuit.gate_check import check
from provnet.circuit.gates import Neuron, Variable
from provnet.errors import CircuitError
from tests.gate_circuits import multiply as product
from tests.gate_circuits import perceptron
from tests.listed_paths import modest_stores, polynomials


def renamed(store, path="y", variables=None):
    roots = tuple(Neuron(path, (i,)) for i in range(len(store.roots)))
    return replace(store, roots=roots, variables=store.variables if variables is None else variables)


@given(modest_stores(gates=7), modest_stores(gates=7))
def test_a_union_has_the_roots_of_both(a, b):
    joined = check(union(a, renamed(b)))
    assert polynomials(joined) == (*polynomials(a), *polynomials(b))
    with pytest.raises(CircuitError, match="both circuits have the root"):
        union(a, b)


@given(modest_stores(gates=5), modest_stores(gates=5))
@pytest.mark.guarantee("the sum and the product of circuits evaluate to the sum and the product of their values")
def test_sums_and_products_go_root_by_root(a, b):
    count = min(len(a.roots), len(b.roots))
    a, b = (replace(s, roots=s.roots[:count], root_gates=s.root_gates[:count]) for s in (a, b))
    pairs = list(zip(polynomials(a), polynomials(b), strict=True))
    assert list(polynomials(check(add(a, b)))) == [x + y for x, y in pairs]
    assert list(polynomials(check(multiply(a, b)))) == [product(x, y) for x, y in pairs]


@given(modest_stores(gates=5), modest_stores(gates=5))
def test_variables_are_matched_by_name(a, b):
    other = tuple(Variable(f"v{i}") for i in (3, 9, 1, 0))
    joined = union(a, renamed(b, variables=other))
    assert [v.name for v in joined.variables] == ["v0", "v1", "v2", "v3", "v9"]
    wanted = [
        Counter({tuple(sorted(other[int(x[1:])].name for x in m)): c for m, c in found.items()})
        for found in polynomials(b)
    ]
    assert list(polynomials(joined))[len(a.roots) :] == wanted


def test_roots_may_stand_in_another_order():
    store = expand(perceptron(3, 2, 2).circuit(), 0)
    turned = replace(store, roots=store.roots[::-1], root_gates=store.root_gates[::-1].copy())
    assert list(polynomials(add(store, turned))) == [x + x for x in polynomials(store)]
    with pytest.raises(CircuitError, match="different roots"):
        add(store, renamed(store))


def test_two_expansions_of_one_network_have_the_same_variables():
    circuit = perceptron(3, 4, 2).circuit()
    a, b, other = expand(circuit, 0), expand(circuit, 0), expand(circuit, 1)
    assert a.variables is not b.variables
    assert same_variables(a.variables, b.variables)
    assert not same_variables(a.variables, other.variables)
    joined, _, numbers = join_variables(a.variables, other.variables)
    assert len(joined) == 3 * 4 + 2 * 4
    assert [joined[i].name for i in numbers] == [v.name for v in other.variables]


@given(modest_stores(gates=6))
def test_equal_gates_are_merged(store):
    assert len(union(store, renamed(store))) <= len(store) + 2
