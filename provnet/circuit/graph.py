"""The public view of gates: a `networkx.MultiDiGraph`, operand → gate. A `DiGraph` would drop the second wire of x ⊗ x.

Nodes carry `kind` ("zero", "one", "variable", "plus", "times"), a variable's node also `variable` (its name), a root's
node `root` (the neuron's name; where a gate has several roots, `root2`, `root3`, … too). Edges carry `position`, the
operand's place, from 0, and have keys of their own. All attributes are numbers and texts, so that every writer of
networkx (GraphML, GML, GEXF, node-link JSON) can write the graph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from provnet.circuit.description import assumption_from, describe_texts, roots_from, variables_from
from provnet.circuit.gate_check import check
from provnet.circuit.gates import KINDS, PLUS, VARIABLE, GateStore, Neuron, Variable
from provnet.circuit.variables import names_of
from provnet.errors import CircuitError
from provnet.on_use import on_use

if TYPE_CHECKING:
    import networkx as nx
else:
    nx = on_use("networkx")

T = TypeVar("T")


def to_networkx(store: GateStore) -> nx.MultiDiGraph:
    """Return the gates as a graph whose nodes are the gates' numbers.

    `graph.graph` has `variables`, `roots` and `assumption` as JSON texts, so that `from_networkx` gives back the very
    same gates.
    Time: about 5 microseconds a gate; the store is the fast form.
    """
    graph = nx.MultiDiGraph()
    graph.graph.update(describe_texts(store))
    names = names_of(store.variables)
    variable = store.variable.tolist()
    for gate, kind in enumerate(store.kind.tolist()):
        if kind == VARIABLE:
            graph.add_node(gate, kind=KINDS[kind], variable=names[variable[gate]])
        else:
            graph.add_node(gate, kind=KINDS[kind])
    for root, gate in zip(store.roots, store.root_gates.tolist(), strict=True):
        node = graph.nodes[gate]
        node[_root_attribute(sum(name.startswith("root") for name in node))] = str(root)
    owner = np.repeat(np.arange(len(store)), store.fan)
    position = np.arange(store.wires) - store.first[owner]
    wires = zip(store.operands.tolist(), owner.tolist(), position.tolist(), strict=True)
    for key, (operand, gate, place) in enumerate(wires):
        graph.add_edge(operand, gate, key=key, position=place)
    return graph


def _root_attribute(number: int) -> str:
    return f"root{number + 1}" if number else "root"


def from_networkx(graph: Any) -> GateStore:
    """Return the gates of a directed graph, drawn by hand or made by `to_networkx`, as a checked store.

    Nodes need `kind`; a variable's needs `variable` (any name), and roots have `root`: a name such as "x[0, 4]", a
    `Neuron`, several of them, or True (then the root is called like the node); further ones as `root2`, `root3`, ….
    Without `position`, operands keep the
    order in which the edges were added. Nodes may be any hashable; where they are integers in topological
    order, gates keep it.
    Raises `CircuitError` for a cycle, an unknown kind, a missing attribute, leaves with operands, gates without.
    """
    if not isinstance(graph, nx.DiGraph):
        raise CircuitError(f"got {type(graph).__name__}: give a networkx.MultiDiGraph with edges operand → gate.")
    order = _order(graph)
    number = {node: i for i, node in enumerate(order)}
    kind = np.array([_kind(graph, node) for node in order], np.uint8)
    variables, variable = _variables(graph, order, kind)
    operands = [_operands(graph, node, number) for node in order]
    for node, wires, own in zip(order, operands, kind, strict=True):
        if own >= PLUS and not wires:
            raise CircuitError(f"the gate {node!r} ({KINDS[own]}) has no operands: draw edges operand → gate.")
        if own < PLUS and wires:
            raise CircuitError(f"{node!r} is a {KINDS[own]} and has {len(wires)} operands: edges go operand → gate.")
    roots = _roots(graph, order)
    return check(
        GateStore(
            kind=kind,
            first=np.cumsum([0, *map(len, operands)], dtype=np.int64),
            operands=np.array([wire for wires in operands for wire in wires], np.int32),
            variable=variable,
            variables=variables,
            roots=tuple(root for root, _ in roots),
            root_gates=np.array([number[node] for _, node in roots], np.int32),
            assumption=_made(graph, "assumption", assumption_from),
        )
    )


def _order(graph: nx.DiGraph) -> list[Hashable]:
    """Return the nodes, each after its operands: ascending if that will do, else near the order of their addition."""
    nodes = list(graph.nodes)
    if all(isinstance(node, int) for node in nodes) and all(operand < gate for operand, gate in graph.edges()):
        return sorted(nodes)
    place = {node: i for i, node in enumerate(nodes)}
    try:
        return list(nx.lexicographical_topological_sort(graph, key=place.__getitem__))
    except nx.NetworkXUnfeasible:
        loop = [edge[0] for edge in nx.find_cycle(graph)]
        shown = " → ".join(map(repr, [*loop[:8], loop[0]] if len(loop) <= 8 else [*loop[:8], "…"]))
        raise CircuitError(
            f"the graph has a cycle: {shown}. A gate may not feed itself; remove one of its edges."
        ) from None


def _kind(graph: nx.DiGraph, node: Hashable) -> int:
    kind = graph.nodes[node].get("kind")
    if kind not in KINDS:
        what = "no `kind`" if kind is None else f"the kind {kind!r}"
        raise CircuitError(f"the node {node!r} has {what}: give it one of {', '.join(map(repr, KINDS))}.")
    return KINDS.index(kind)


def _variables(graph: nx.DiGraph, order: list[Hashable], kind: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return the variables and which one each node is. Those the graph lists come first and keep their numbers."""
    listed = _made(graph, "variables", variables_from)
    numbers = {name: i for i, name in enumerate(names_of(listed))}
    added: list[Variable] = []
    variable = np.full(len(order), -1, np.int32)
    for i, node in enumerate(order):
        if kind[i] != VARIABLE:
            continue
        given = graph.nodes[node].get("variable")
        if given is None:
            raise CircuitError(f"the node {node!r} is a variable without a name: give it the attribute `variable`.")
        name = str(given)
        if name not in numbers:
            numbers[name] = len(numbers)
            added.append(given if isinstance(given, Variable) else Variable(name))
        variable[i] = numbers[name]
    return (listed if not added and listed else (*listed, *added)), variable


def _operands(graph: nx.DiGraph, node: Hashable, number: dict[Hashable, int]) -> list[int]:
    wires = [(data.get("position"), number[operand]) for operand, _, data in graph.in_edges(node, data=True)]
    given = [place for place, _ in wires if place is not None]
    if not given:
        return [operand for _, operand in wires]
    if sorted(given) != list(range(len(wires))):
        raise CircuitError(
            f"the operands of {node!r} have the positions {given}, of {len(wires)}: number all of them from 0, or none."
        )
    return [operand for _, operand in sorted(wires)]


def _roots(graph: nx.DiGraph, order: Iterable[Hashable]) -> list[tuple[Neuron, Hashable]]:
    """Return (root, node) in the order that the graph lists, or else of the nodes."""
    listed = {str(root): (place, root) for place, root in enumerate(_made(graph, "roots", roots_from))}
    found = [(root, node) for node in order for root in _roots_at(node, graph.nodes[node])]
    if not found:
        raise CircuitError("no node has the attribute `root`: give one to each gate whose value is asked for.")
    if listed and {str(root) for root, _ in found} != set(listed):
        raise CircuitError("the nodes' `root`s differ from graph.graph['roots']: delete that entry to go by the nodes.")
    if not listed:
        return found
    found = sorted(found, key=lambda pair: listed[str(pair[0])][0])
    return [(listed[str(root)][1], node) for root, node in found]


def _made(graph: nx.DiGraph, name: str, make: Callable[[Any], T]) -> T:
    """Return what `graph.graph[name]` describes, nothing if it is not there. Raises `CircuitError`."""
    try:
        return make(json.loads(graph.graph.get(name, "[]")))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise CircuitError(
            f"graph.graph[{name!r}] is not what to_networkx wrote ({type(error).__name__}: {error}): delete that entry."
        ) from error


def _roots_at(node: Hashable, attributes: dict[str, Any]) -> Iterator[Neuron]:
    """Yield the roots whose gate a node is: `root`, `root2` and so on."""
    number = 0
    while (name := _root_attribute(number)) in attributes:
        yield from _neurons(node, attributes[name])
        number += 1


def _neurons(node: Hashable, root: Any) -> list[Neuron]:
    if root is None or root is False:
        return []
    if root is True:
        return [as_neuron(str(node))]
    if isinstance(root, (str, Neuron)):
        return [as_neuron(root)]
    if isinstance(root, (tuple, list)) and all(isinstance(one, (str, Neuron)) for one in root):
        return [as_neuron(one) for one in root]
    raise CircuitError(f"the node {node!r} has root={root!r}: give a name such as 'x[0, 4]', several, or True.")


def as_neuron(name: str | Neuron) -> Neuron:
    """Return the neuron that prints as `name`: "x[0, 4]" is Neuron("x", (0, 4)), "x" is Neuron("x", ())."""
    if isinstance(name, Neuron):
        return name
    parts = re.fullmatch(r"(.*)\[(\d+(?:\s*,\s*\d+)*)\]", name)
    return Neuron(parts[1], tuple(int(i) for i in parts[2].split(","))) if parts else Neuron(name, ())
