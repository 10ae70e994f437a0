"""Gates as GraphML, for Gephi, yEd, Cytoscape, igraph and networkx itself; and the reader."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from provnet.circuit.description import describe
from provnet.circuit.gates import KINDS, VARIABLE, GateStore
from provnet.errors import FileFormatError
from provnet.on_use import on_use
from provnet.writers.atomic import write_bytes
from provnet.writers.base import StrPath, Subject, gates_of, writer
from provnet.writers.dot import SYMBOL
from provnet.writers.json import assemble

if TYPE_CHECKING:
    import networkx as nx
else:
    nx = on_use("networkx")

FORMAT = 1


@writer("graphml")
def write_graphml(subject: Subject, path: StrPath) -> Path:
    """Write gates as a GraphML multigraph, operand -> gate; what GraphML has no place for is JSON in `provnet`.

    Nodes have `kind`, `label`, and `variable` or `root` (the neurons' names, one a line); edges `position`, from 0.
    Raises `OutputError`.
    """
    store = gates_of(subject)
    content = {"format": FORMAT, "root_gates": store.root_gates.tolist(), **describe(store)}
    graph = nx.MultiDiGraph(provnet=json.dumps(content))
    for gate, kind in enumerate(store.kind.tolist()):
        node = {"kind": KINDS[kind], "label": SYMBOL.get(kind, "")}
        if kind == VARIABLE:
            node["label"] = node["variable"] = store.variables[store.variable[gate]].name
        graph.add_node(f"g{gate}", **node)
    for neuron, gate in zip(store.roots, store.root_gates.tolist(), strict=True):
        node = graph.nodes[f"g{gate}"]
        node["root"] = f"{node['root']}\n{neuron}" if "root" in node else str(neuron)
    for gate in range(len(store)):
        first = int(store.first[gate])
        for position, operand in enumerate(store.operands_of(gate).tolist()):
            # GraphML wants ids that are unique in the file, and networkx takes them from the keys.
            graph.add_edge(f"g{operand}", f"g{gate}", key=f"w{first + position}", position=position)
    return write_bytes(path, _xml(graph))


def _xml(graph: nx.MultiDiGraph) -> bytes:
    """Return a graph as GraphML. Readers of XML turn a bare carriage return into a line feed, so it is escaped."""
    text = io.BytesIO()
    nx.write_graphml_xml(graph, text)
    return text.getvalue().replace(b"\r", b"&#13;") + b"\n"


def read_graphml(path: StrPath) -> GateStore:
    """Return the gates that `write_graphml` wrote. Raises `FileFormatError` for any other content.

    A graph from elsewhere is read with networkx and given to `GateCircuit.from_networkx`.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of a lacking declaration, which is judged below
            graph = nx.parse_graphml(Path(path).read_bytes().decode(), force_multigraph=True)
        content: dict[str, Any] = json.loads(graph.graph["provnet"])
        known = content["format"] == FORMAT
    except Exception as error:  # XML, JSON and networkx's reader each raise their own on damaged files
        raise FileFormatError(
            f"{path} is no GraphML file that write_graphml wrote ({type(error).__name__}: {error})."
        ) from error
    if not known:
        raise FileFormatError(
            f"{path} has format {content['format']!r} and this provnet reads {FORMAT}: update provnet."
        )
    try:
        kind, arrays = _columns(graph, content)
    except (AttributeError, KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise FileFormatError(f"{path} is damaged ({type(error).__name__}: {error}): write it again.") from error
    return assemble(kind, arrays, content, str(path))


def _columns(graph: nx.MultiDiGraph, content: dict[str, Any]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the kinds and the other arrays of a graph's gates."""
    gates = [graph.nodes[f"g{gate}"] for gate in range(len(graph))]
    number = {variable["name"]: k for k, variable in enumerate(content["variables"])}
    below: list[list[int]] = []
    for gate in range(len(graph)):
        wires = sorted((place, int(source[1:])) for source, _, place in graph.in_edges(f"g{gate}", data="position"))
        below.append([source for _, source in wires])
    return np.array([KINDS.index(node["kind"]) for node in gates], np.uint8), {
        "first": np.cumsum([0, *map(len, below)]),
        "operands": np.array([source for sources in below for source in sources], np.int64),
        "variable": np.array([_variable(node, number) for node in gates], np.int64),
        "root_gates": np.array(content["root_gates"], np.int64),
    }


def _variable(node: dict[str, Any], number: dict[str, int]) -> int:
    """Return the number of a node's variable. An empty name is an empty element, of which networkx reads nothing."""
    return number[node.get("variable", "")] if node["kind"] == KINDS[VARIABLE] else -1
