"""Closed forms against the definitions: all orders' mean contribution by coalitions, one by one."""

from __future__ import annotations

from collections import Counter
from math import comb, factorial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import provnet
from provnet.applications.shapley import banzhaf_values, shapley_values
from provnet.circuit.expand import expand
from provnet.circuit.gates import PLUS, TIMES, VARIABLE
from provnet.errors import UnsupportedOperationError
from tests.gate_circuits import make_store, perceptron, residual
from tests.listed_paths import coalitions, polynomials, total, within
from tests.nets import perceptron as torch_perceptron
from tests.nets import seeded


def by_definition(game, names: list[str], weight) -> dict[str, float]:
    """Σ over the coalitions S of the others of weight(|S|) · (v(S ∪ e) − v(S))."""
    worth = {edges: game(edges) for edges in coalitions(names)}
    return {e: sum(weight(len(s)) * (worth[s | {e}] - worth[s]) for s in worth if e not in s) for e in names}


@st.composite
def multilinear(draw):
    """A small circuit whose paths use a variable at most once, of mixed lengths: a product of sums of products."""
    groups = draw(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=2), min_size=1, max_size=3))
    count = sum(sum(group) for group in groups)
    kinds, operands = [VARIABLE] * count, [[] for _ in range(count)]

    def gate(kind: int, wires: list[int]) -> int:
        kinds.append(kind)
        operands.append(wires)
        return len(kinds) - 1

    at, factors = 0, []
    for group in groups:
        terms = []
        for size in group:
            terms.append(gate(TIMES, list(range(at, at + size))))
            at += size
        factors.append(gate(PLUS, terms))
    root = gate(draw(st.sampled_from([PLUS, TIMES])), factors)
    return make_store(kinds, operands, [*range(count)] + [-1] * (len(kinds) - count), count, [root])


@given(multilinear(), st.data())
@pytest.mark.guarantee("Shapley and Banzhaf values of edges are those of the definition, coalition by coalition")
def test_closed_forms_are_the_definition(store, data):
    n = len(store.variables)
    values = data.draw(st.lists(st.integers(-3, 3).map(float), min_size=n, max_size=n))
    named = {v.name: value for v, value in zip(store.variables, values, strict=True)}
    (monomials,) = polynomials(store)
    gates = provnet.GateCircuit(store)

    def game(edges):
        return within(monomials, edges, named)

    shapley = by_definition(game, list(named), lambda s: factorial(s) * factorial(n - s - 1) / factorial(n))
    banzhaf = by_definition(game, list(named), lambda s: 0.5 ** (n - 1))
    found = shapley_values(gates, valuation=named)
    assert [float(found[name]) for name in named] == pytest.approx(list(shapley.values()), abs=1e-9)
    assert sum(shapley.values()) == pytest.approx(total(monomials, named), abs=1e-9)
    found = banzhaf_values(gates, valuation=named)
    assert [float(found[name]) for name in named] == pytest.approx(list(banzhaf.values()), abs=1e-9)


@pytest.mark.parametrize("net", [perceptron(1, 2, 2), residual()], ids=["one length", "skips"])
def test_several_roots_are_one_game_and_efficient(net):
    gates = provnet.GateCircuit(expand(net.circuit(), 0))
    values = torch.rand(len(gates.variables), dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.3
    whole = gates.evaluate("real", values).tensor
    assert float(shapley_values(gates, valuation=values).tensor.sum()) == pytest.approx(float(whole.sum()), rel=1e-9)
    each = torch.stack([shapley_values(gates, root=root, valuation=values).tensor for root in gates.roots])
    assert torch.allclose(each.sum(0), shapley_values(gates, valuation=values).tensor)
    lengths = {len(m) for found in polynomials(gates.store) for m in found}
    assert (len(lengths) > 1) == (len(net.blocks) > 4)


def test_of_a_real_network_they_add_up_to_its_relevance():
    circuit = provnet.trace(seeded(lambda: torch_perceptron(4, 5, 3)), torch.rand(1, 4, dtype=torch.float64))
    gates = circuit.gates(target=1)
    found = shapley_values(gates, semiring="real")
    assert float(found.tensor.sum()) == pytest.approx(float(circuit.evaluate("real", target=1).inputs.sum()), rel=1e-9)
    batch = torch.stack([gates.valuation("real"), 2 * gates.valuation("real")])
    both = shapley_values(gates, valuation=batch)
    assert torch.allclose(both.tensor[1], 4 * found.tensor)
    assert torch.equal(both[gates.variables[3]], both.tensor[:, 3])


def test_the_share_of_a_path_does_not_depend_on_other_paths():
    """x ⊕ y ⊗ z: φ = (x, yz/2, yz/2), Banzhaf the same; the coalition weights are not needed."""
    store = make_store([VARIABLE] * 3 + [TIMES, PLUS], [[], [], [], [1, 2], [0, 3]], [0, 1, 2, -1, -1], 3, [4])
    assert polynomials(store) == (Counter({("v0",): 1, ("v1", "v2"): 1}),)
    found = shapley_values(provnet.GateCircuit(store), valuation={"v0": 5.0, "v1": 2.0, "v2": 3.0})
    assert found.tensor.tolist() == [5.0, 3.0, 3.0]
    assert comb(3, 1) == 3


@pytest.mark.guarantee("Shapley values are refused in Boolean and Viterbi, and where variables are shared")
def test_where_the_closed_form_is_wrong_it_is_refused():
    circuit = provnet.trace(seeded(lambda: torch_perceptron(3, 3, 2)), torch.rand(1, 3, dtype=torch.float64))
    for semiring in ("boolean", "viterbi", "counting"):
        with pytest.raises(UnsupportedOperationError, match="sum of theirs"):
            shapley_values(circuit.gates(target=0), semiring=semiring)
    with pytest.raises(UnsupportedOperationError, match="grain 'block'"):
        banzhaf_values(circuit.gates(target=0, grain="block"), valuation=torch.ones(2))
    square = make_store([VARIABLE, TIMES], [[], [0, 0]], [0, -1], 1, [1])
    with pytest.raises(UnsupportedOperationError, match="'v0' is used twice"):
        shapley_values(provnet.GateCircuit(square), valuation={"v0": 1.0})
