"""The circuit of derivatives: against polynomials that are differentiated by the rule for monomials."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.adjoint import adjoint
from provnet.circuit.expand import expand
from provnet.circuit.gate_check import check
from provnet.circuit.gates import PLUS, TIMES, VARIABLE
from provnet.circuit.simplify import simplify
from provnet.errors import UnsupportedOperationError
from tests.gate_circuits import convolutional, make_store, perceptron, residual
from tests.listed_paths import modest_stores, polynomials, through


def _sum(parts):
    return sum(parts, Counter())


@given(modest_stores(gates=9), st.data())
@pytest.mark.guarantee("a marginal is x ∂f/∂x: the monomials that use x, each as often as it does")
def test_the_marginal_of_a_variable_holds_the_monomials_that_use_it(store, data):
    chosen = data.draw(st.none() | st.lists(st.integers(0, len(store.roots) - 1), min_size=1, max_size=3))
    found = polynomials(store)
    whole = _sum(found if chosen is None else [found[i] for i in chosen])
    marginals = check(adjoint(store, chosen))
    for variable, marginal in zip(store.variables, polynomials(marginals), strict=True):
        assert marginal == through(whole, variable.name)


@given(modest_stores(gates=8))
def test_the_derivative_lacks_one_factor(store):
    whole = _sum(polynomials(store))
    for variable, found in zip(store.variables, polynomials(adjoint(store, derivative=True)), strict=True):
        back = Counter({tuple(sorted((*m, variable.name))): c for m, c in found.items()})
        assert back == through(whole, variable.name)


@pytest.mark.parametrize(
    "net", [perceptron(3, 4, 3, 2, bias=True), residual(), convolutional()], ids=["mlp", "skip", "cnn"]
)
def test_its_size_is_linear(net):
    store = expand(net.circuit(), 0, limit=None)
    assert len(adjoint(store)) <= len(store) + 3 * store.wires + 2


def test_wide_products_need_no_division():
    store = make_store([VARIABLE] * 5 + [TIMES], [[]] * 5 + [[0, 1, 2, 3, 4]], [0, 1, 2, 3, 4, -1], 5, [5])
    names = ["v0", "v1", "v2", "v3", "v4"]
    for i, found in enumerate(polynomials(adjoint(store, derivative=True))):
        assert found == Counter({tuple(x for j, x in enumerate(names) if j != i): 1})


def test_a_circuit_without_a_path_has_zero_marginals():
    net = perceptron(2, 2, 2)
    store = simplify(expand(net.circuit(), 0))
    marginals = adjoint(store, [])
    assert all(not found for found in polynomials(marginals))
    assert "commutative" in marginals.assumption


@pytest.mark.guarantee("marginals of a circuit from which absorption dropped paths are refused")
def test_absorbed_paths_are_missed():
    store = make_store([VARIABLE, VARIABLE, TIMES, PLUS], [[], [], [0, 1], [0, 2]], [0, 1, -1, -1], 2, [3])
    with pytest.raises(UnsupportedOperationError, match="absorption"):
        adjoint(simplify(store, ["absorptive"]))
