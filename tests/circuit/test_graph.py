"""networkx is a view: there and back gives the same columns, and hand-drawn graphs are checked."""

from __future__ import annotations

import operator

import networkx as nx
import pytest
from hypothesis import given

from provnet.circuit.expand import expand
from provnet.circuit.fold import fold
from provnet.circuit.gates import Neuron, Variable
from provnet.circuit.graph import as_neuron, from_networkx, to_networkx
from provnet.circuit.hash_cons import hash_cons
from provnet.circuit.simplify import simplify
from provnet.errors import CircuitError
from tests.gate_circuits import convolutional, residual, same_arrays, stores


@pytest.mark.guarantee("to_networkx and from_networkx give back the very same gates, parallel wires included")
@given(stores())
def test_there_and_back(store):
    graph = to_networkx(store)
    assert graph.number_of_nodes() == len(store)
    assert graph.number_of_edges() == store.wires
    assert same_arrays(from_networkx(graph), store)


@pytest.mark.parametrize("net", [convolutional(), residual()])
def test_there_and_back_with_blocks_variables(net):
    for store in (expand(net.circuit(), 1, grain=grain) for grain in ("edge", "channel", "parameter", "source")):
        assert same_arrays(from_networkx(to_networkx(store)), store)
        simple = simplify(store, ["idempotent"])
        assert same_arrays(from_networkx(to_networkx(simple)), simple)


@given(stores())
def test_relabelled_nodes_give_the_same_circuit(store):
    """String names in another order: gates are renumbered, values stay."""
    graph = to_networkx(store)
    names = {gate: f"g{len(store) - gate}" for gate in graph}
    turned = nx.MultiDiGraph(**graph.graph)
    turned.add_nodes_from((names[gate], graph.nodes[gate]) for gate in reversed(list(graph)))
    turned.add_edges_from((names[u], names[v], data) for u, v, data in reversed(list(graph.edges(data=True))))
    found = from_networkx(turned)
    assert found.roots == store.roots
    arguments = (lambda a, b: f"({a}+{b})", lambda a, b: f"({a}{b})", "0", "1", str)
    assert fold(found, *arguments) == fold(store, *arguments)


def drawn() -> nx.MultiDiGraph:
    """x ⊗ x ⊕ y, by hand."""
    graph = nx.MultiDiGraph()
    graph.add_node("sum", kind="plus", root="answer[0, 4]")
    graph.add_node("square", kind="times")
    graph.add_node("x", kind="variable", variable="x")
    graph.add_node("y", kind="variable", variable=Variable("y", path="mine"))
    graph.add_edges_from([("square", "sum"), ("x", "square"), ("x", "square"), ("y", "sum")])
    return graph


def test_a_graph_drawn_by_hand():
    store = from_networkx(drawn())
    assert store.roots == (Neuron("answer", (0, 4)),)
    assert [v.name for v in store.variables] == ["x", "y"]
    assert store.variables[1].path == "mine"
    value = {"x": 3, "y": 5}
    assert fold(store, operator.add, operator.mul, 0, 1, lambda v: value[v.name]) == (14,)


def test_roots_may_be_true_names_or_several():
    graph = drawn()
    graph.nodes["sum"]["root"] = True
    graph.nodes["x"]["root"] = ["a", Neuron("b", (1,))]
    roots = from_networkx(graph).roots
    assert set(roots) == {Neuron("sum", ()), Neuron("a", ()), Neuron("b", (1,))}
    assert as_neuron("path#0[1][2, 3]") == Neuron("path#0[1]", (2, 3))
    assert str(as_neuron("x[0,4]")) == "x[0, 4]"


def test_a_graph_may_grow():
    store = expand(convolutional().circuit(), 0)
    graph = to_networkx(store)
    graph.add_node("new", kind="variable", variable="mine")
    graph.add_node("top", kind="times")
    graph.add_edges_from([("new", "top"), (int(store.root_gates[0]), "top")])
    graph.nodes["top"]["root"] = "top"
    del graph.graph["roots"]
    found = from_networkx(graph)
    assert [v.name for v in found.variables][-1] == "mine"
    assert len(hash_cons(found)) == len(store) + 2


def edit(change):
    graph = drawn()
    change(graph)
    return graph


@pytest.mark.guarantee("a malformed graph is refused: a cycle, an unknown kind, a missing attribute, a wrong arity")
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda g: g.add_edge("sum", "square"), "cycle: .*sum.*square"),
        (lambda g: g.nodes["sum"].update(kind="add"), "'sum' has the kind 'add'.*'plus'"),
        (lambda g: g.nodes["sum"].pop("kind"), "'sum' has no `kind`"),
        (lambda g: g.nodes["x"].pop("variable"), "'x' is a variable without a name"),
        (lambda g: g.remove_node("x"), "'square' .times. has no operands"),
        (lambda g: g.add_edge("y", "x"), "'x' is a variable and has 1 operands"),
        (lambda g: g.nodes["sum"].pop("root"), "no node has the attribute `root`"),
        (lambda g: g.nodes["sum"].update(root=7), "root=7"),
        (lambda g: g.add_edge("x", "sum", position=0), "number all of them"),
        (lambda g: g.nodes["x"].update(root="answer[0, 4]"), "two roots"),
        (lambda g: g.graph.update(roots='[["other", []]]'), "differ"),
        (lambda g: g.graph.update(roots="other"), "is not what to_networkx wrote.*delete that entry"),
    ],
)
def test_malformed_graphs_are_refused(change, match):
    with pytest.raises(CircuitError, match=match):
        from_networkx(edit(change))


def test_what_is_no_directed_graph_is_refused():
    for thing in (nx.Graph(), {}, None):
        with pytest.raises(CircuitError, match="MultiDiGraph"):
            from_networkx(thing)
