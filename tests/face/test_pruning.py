"""Parts of explicit circuits: what they hold is told from the list of all paths, what they left out is exact."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import provnet
from provnet.circuit.gates import VARIABLE
from provnet.errors import LimitError, OptionError, UnsupportedOperationError
from provnet.semirings.annotations import Support, Threshold
from provnet.symbolic.carriers.base import REGISTRY as CARRIERS
from provnet.symbolic.difference import difference
from tests.nets import perceptron

WHOLE = st.integers(-3, 3)


@st.composite
def traced(draw: st.DrawFn) -> provnet.Circuit:
    """Return a circuit of a random perceptron with small whole weights, two examples."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    model = perceptron(*sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            n = parameter.numel()
            parameter.copy_(torch.tensor(draw(st.lists(WHOLE, min_size=n, max_size=n))).reshape(parameter.shape))
    x = torch.tensor(draw(st.lists(WHOLE, min_size=2 * sizes[0], max_size=2 * sizes[0])), dtype=torch.float32)
    return provnet.trace(model.double(), x.reshape(2, sizes[0]).double())


def paths_of(gates: provnet.GateCircuit, root: Any) -> list[tuple[str, ...]]:
    """Return the paths of a root as tuples of edges, from its polynomial."""
    return sorted(tuple(sorted(name for name, _ in m)) for m in gates.polynomial(root).terms)


@settings(max_examples=40, deadline=None)
@given(traced(), st.sampled_from([-0.5, 1e-9, 0.3, 1.0]))
@pytest.mark.guarantee("pruning by θ keeps exactly the paths all of whose edges reach θ, and counts what it left out")
def test_theta_keeps_the_paths_whose_edges_pass(circuit: provnet.Circuit, theta: float):
    gates = circuit.gates(target=0)
    passing = {name for name, one in gates.values("boolean", annotation=Threshold(theta)).items() if one}
    small = gates.prune(theta=theta)
    lists = {root: [p for p in paths_of(gates, root) if set(p) <= passing] for root in gates.roots}
    assert {root: paths_of(small, root) for root in small.roots} == lists
    assert small.pruned is not None
    assert small.pruned.paths == sum(map(len, lists.values()))
    assert small.pruned.edges == len({edge for paths in lists.values() for path in paths for edge in path})
    assert small.variables is gates.variables
    # The same from the blocks, where neurons that no passing edge leads to are never looked at.
    sparse = circuit.gates(target=0, annotation=Support(theta))
    assert {root: paths_of(sparse, root) for root in sparse.roots} == lists
    assert sparse.pruned is not None and sparse.pruned.edges == small.pruned.edges


@settings(max_examples=25, deadline=None)
@given(traced(), st.sampled_from([1e-9, 0.4]))
@pytest.mark.guarantee("Support(θ) gives every symbolic carrier the same element on gates and on blocks")
def test_support_with_every_carrier(circuit: provnet.Circuit, theta: float):
    gates, support = circuit.gates(target=0), Support(theta)
    passing = {name for name, one in gates.values("boolean", annotation=Threshold(theta)).items() if one}
    for name in CARRIERS.names():
        carrier = CARRIERS.get(name)
        wanted = gates.fold(
            lambda v, k=carrier: k.variable(v.name) if v.name in passing else k.zero,
            carrier.plus,
            carrier.times,
            carrier.zero,
            carrier.one,
            laws=("commutative", "idempotent", "absorptive", "times_idempotent"),
        )
        on_gates = gates.provenance(name, annotation=support)
        on_blocks = circuit.provenance(name, target=0, annotation=support)
        if name in ("formula", "boolexpr"):  # written in another way, these are equal as functions
            truth = circuit.evaluate("boolean", target=0, annotation=support).inputs[0]
            for found in (on_gates, on_blocks):
                values = [carrier.text(element) != carrier.text(carrier.zero) for element in found.values()]
                assert values == truth.flatten().tolist()
            continue
        assert on_gates == on_blocks == wanted, name


@settings(max_examples=40, deadline=None)
@given(traced(), st.integers(1, 4))
def test_keep_holds_the_best_paths_and_no_other(circuit: provnet.Circuit, k: int):
    gates = circuit.gates(target=0)
    small = gates.prune(keep=k)
    for root in gates.roots:
        best = gates.best_paths(root, k)
        assert paths_of(small, root) == sorted(tuple(sorted(map(str, p.variables))) for p in best)


@settings(max_examples=40, deadline=None)
@given(traced(), st.sampled_from([0.3, 0.8, 1.0]))
@pytest.mark.guarantee("pruning by a share keeps the fewest paths that carry it, and no share is overstated")
def test_share_is_carried_by_the_fewest_paths(circuit: provnet.Circuit, share: float):
    gates = circuit.gates(target=0)
    weights = {name: abs(Fraction(float(one))) for name, one in gates.values("real").items()}
    small = gates.prune(share=share)
    kept = whole = Fraction(0)
    for root in gates.roots:
        sizes = sorted((prod(weights[e] for e in path) for path in paths_of(gates, root)), reverse=True)
        mine = [prod(weights[e] for e in path) for path in paths_of(small, root)]
        assert float(sum(mine)) >= share * float(sum(sizes)) * (1 - 1e-9)
        if mine:  # without its least path it would fall short
            assert float(sum(mine) - min(mine)) < share * float(sum(sizes)) * (1 + 1e-9)
        kept, whole = kept + sum(mine), whole + sum(sizes)
    assert small.pruned is not None
    if whole:
        assert small.pruned.share == pytest.approx(float(kept / whole), rel=1e-9)


def lenet() -> provnet.Circuit:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 4)
    ).eval()
    return provnet.trace(model, torch.rand(1, 1, 8, 8))


@settings(max_examples=30, deadline=None)
@given(traced())
@pytest.mark.guarantee("without dead neurons a circuit has the value of the structural one under rule zero")
def test_without_dead_neurons_values_stay(circuit: provnet.Circuit):
    for example in range(2):
        whole, alive = circuit.gates(target=0, batch=example), circuit.gates(target=0, batch=example, dead=False)
        assert torch.equal(whole.evaluate("real").tensor, alive.evaluate("real").tensor)
        assert alive.pruned is not None and alive.pruned.all_edges == int((whole.store.kind == VARIABLE).sum())


def test_dead_neurons_go_through_pooling_and_flattening():
    circuit = lenet()
    whole, alive = circuit.gates(), circuit.gates(dead=False)
    assert len(alive) < len(whole)
    assert torch.allclose(whole.evaluate("real").tensor, alive.evaluate("real").tensor, atol=1e-15, rtol=1e-12)
    assert alive.pruned is not None
    assert alive.pruned.edges == int((alive.store.kind == VARIABLE).sum()) < alive.pruned.all_edges


def test_an_edge_that_is_dropped_is_zero():
    gates = provnet.trace(perceptron(3, 2, 2), torch.ones(1, 3)).gates(target=0, at=("input", 0))
    kept = {variable.name: float(not variable.name.endswith("[0<-0]")) for variable in gates.variables}
    assert str(gates.prune(theta=0.5, valuation=kept).formula()) == "0[1<-0] ⊗ 2[0<-1]"


def test_what_was_left_out_is_told_and_adds_up():
    gates = lenet().gates(at=("input", 0, 4, 4))
    small = gates.prune(keep=50).prune(keep=5)
    assert small.pruned is not None
    assert (small.pruned.paths, small.pruned.all_paths) == (5, gates.formula().terms)
    assert "left out:" in repr(small) and " of Σ|value| in real" in repr(small)
    assert len(str(small.formula())) < 800


def test_a_pruned_circuit_keeps_its_rule():
    circuit = lenet()
    gates = circuit.gates(at=("input", 0, 4, 4))
    small = gates.prune(theta=0.05, rule="epsilon")
    assert torch.equal(small.valuation("real"), gates.valuation("real", "epsilon"))
    assert torch.equal(small.simplify().cone(*small.roots).valuation("real"), gates.valuation("real", "epsilon"))


def test_what_cannot_be_pruned_is_refused():
    gates = lenet().gates(at=("input", 0, 4, 4))
    for wrong in (
        {},
        {"theta": 0.1, "keep": 3},
        {"keep": 0},
        {"share": 1.5},
        {"theta": 0.1, "annotation": "threshold"},
    ):
        with pytest.raises(OptionError):
            gates.prune(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOperationError, match="does not add paths up"):
        gates.prune(share=0.9, semiring="viterbi")
    with pytest.raises(LimitError, match="max_paths"):
        gates.prune(share=0.99, max_paths=10)
    with pytest.raises(OptionError, match=r"Support"):
        gates.formula(annotation="identity")


# --- shown ------------------------------------------------------------------------------------------------------------


def small() -> provnet.Circuit:
    """Return the circuit of the README."""
    model = perceptron(3, 2, 1)
    weights = {"0.weight": [[2, 1, 0], [0, 1, 3]], "0.bias": [0, 0], "2.weight": [[1, 0.5]], "2.bias": [0]}
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return provnet.trace(model, torch.tensor([[1.0, 2.0, 1.0]]))


def test_formulas_show_values_aliases_and_order():
    gates = small().gates()
    assert str(gates.formula("input[1]", values="real", sort="real")) == (
        "0.5·0[0<-1] ⊗ 0.615·2[0<-0] ⊕ 0.4·0[1<-1] ⊗ 0.385·2[0<-1]"
    )
    names = {"input": ["age", "height", "weight"], ("2", 0): "yes", "0": lambda i: f"hidden {i}"}
    named = gates.formula("input[1]", aliases=names)
    assert str(named) == "hidden 0←height ⊗ yes←1[0] ⊕ hidden 1←height ⊗ yes←1[1]"
    assert r"\mathrm{hidden\ 1←height}" in named.latex()
    assert named == gates.formula("input[1]")  # how it is shown is no part of what it is
    costs = gates.sorted("tropical").formula("input[1]")
    assert str(costs) == str(gates.sorted("viterbi").formula("input[1]"))


def test_sorting_puts_the_strongest_term_first_and_changes_no_value():
    gates = lenet().gates(at=("input", 0, 4, 4))
    ordered = gates.sorted("viterbi")
    values = ordered.evaluate("viterbi").tensor, gates.evaluate("viterbi").tensor
    assert torch.equal(*values)
    best = gates.best_paths(k=1)[0].variables
    text = str(ordered.formula())
    assert min(text.find(f" {v} ") for v in best) >= -1
    assert ordered.polynomial() == gates.polynomial()


def test_paths_are_told_as_sentences():
    first, second = small().gates().sentences("input[1]", aliases={"input": ["age", "height", "weight"]})
    assert first == "height reaches 2[0] through 0[0] and carries 1 in viterbi: 1 by 0[0]←height, 1 by 2[0<-0]."
    assert second.startswith("height reaches 2[0] through 0[1] and carries 0.417 in viterbi")


def test_the_difference_of_two_formulas():
    gates = small().gates()
    whole, part = gates.formula("input[1]"), gates.prune(theta=0.5).formula("input[1]")
    found = difference(whole, part)
    assert str(found) == "- 0[1<-1]·2[0<-1]\n1 path in both"
    assert (found.left_variables, found.right_variables) == (("0[1<-1]", "2[0<-1]"), ())
    assert not found.equal and difference(whole, gates.sorted("real").formula("input[1]")).equal
