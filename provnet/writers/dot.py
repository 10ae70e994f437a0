"""Gates as a picture's description in the DOT language of graphviz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore
from provnet.on_use import on_use
from provnet.symbolic.layout import shared_names
from provnet.symbolic.naming import Naming
from provnet.writers.atomic import write_string
from provnet.writers.base import StrPath, Subject, drawn, writer

if TYPE_CHECKING:
    import graphviz
else:
    graphviz = on_use("graphviz")

LIMIT = 500
"""How many gates are drawn unless a caller asks for more: above it nobody can follow a wire."""

SYMBOL = {ZERO: "0", ONE: "1", PLUS: "⊕", TIMES: "⊗"}
FILL = {ZERO: "#eeeeee", ONE: "#eeeeee", VARIABLE: "#fff7d6", PLUS: "#d8e8fb", TIMES: "#fbdfdc"}
INK, PALE = "#333333", "#7a7a7a"


@writer("dot", "gv")
def write_dot(subject: Subject, path: StrPath, limit: int = LIMIT) -> Path:
    """Write gates in the DOT language. Raises `LimitError` above `limit` gates, `OutputError`."""
    return write_string(path, dot_text(drawn(subject, limit)))


def dot_text(store: GateStore, naming: Naming | None = None, strength: NDArray[np.float64] | None = None) -> str:
    """Return a cone's picture: variables (boxes) below, sums and products (circles) above, the neurons on top.

    A gate that is used more than once bears the name that the formula gives it. A wire bears the neuron whose relevance
    it carries into a product, else its place among the operands. Operands stand in their order, from the left. The
    text depends on the gates only.

    naming     how variables and neurons are called, with their values.
    strength   [gates] in [0, 1], drawn as the width of the wires that leave a gate. None: all are alike.
    """
    naming = naming or Naming()
    graph = graphviz.Digraph("provnet", node_attr={"fontname": "Helvetica", "fontsize": "11", "color": INK})
    graph.attr(rankdir="BT", ranksep="0.45", nodesep="0.18", splines="true", outputorder="edgesfirst", ordering="in")
    graph.attr("edge", color=PALE, fontcolor=PALE, fontname="Helvetica", fontsize="8", arrowsize="0.5")
    names = shared_names(store)
    for gate, kind in enumerate(store.kind.tolist()):
        _draw_gate(graph, store, gate, kind, names.get(gate), naming)
    for gate in range(len(store)):
        for operand, label in zip(store.operands_of(gate).tolist(), wire_labels(store, gate, naming), strict=True):
            width = {} if strength is None else {"penwidth": f"{0.4 + 4 * float(strength[operand]):.2f}"}
            graph.edge(f"g{operand}", f"g{gate}", label=label_text(f" {label}"), **width)
    top = graphviz.Digraph("roots", graph_attr={"rank": "max"})
    for k, neuron in enumerate(store.roots):
        top.node(f"root{k}", label_text(naming.neuron(neuron)), shape="cds", style="filled", fillcolor="#e3f3df")
    graph.subgraph(top)
    for k, gate in enumerate(store.root_gates.tolist()):
        graph.edge(f"g{gate}", f"root{k}", style="bold", color=INK)
    return graph.source


def label_text(text: str) -> str:
    """Return a text as a label that shows it as it is: graphviz reads backslashes, and names of characters after &."""
    return graphviz.escape(text.replace("&", "&amp;"))


def _draw_gate(
    graph: graphviz.Digraph, store: GateStore, gate: int, kind: int, name: str | None, naming: Naming
) -> None:
    if kind == VARIABLE:
        label = naming.plain_text(store.variables[store.variable[gate]])
        graph.node(f"g{gate}", label_text(label), shape="box", style="filled,rounded", fillcolor=FILL[kind])
        return
    graph.node(
        f"g{gate}",
        SYMBOL[kind],
        shape="circle",
        style="filled",
        fillcolor=FILL[kind],
        fontsize="15",
        width="0.34",
        fixedsize="true",
        **({"xlabel": f'<<font point-size="10">{name}</font>>'} if name else {}),
    )


def wire_labels(store: GateStore, gate: int, naming: Naming | None = None) -> list[str]:
    """Return what each wire into `gate` is called: the neuron whose relevance it carries, or its place, from 1.

    In a product of an edge's variable and one gate, that gate is the relevance of the neuron at the edge's far end.
    """
    operands = store.operands_of(gate).tolist()
    labels = [str(place) for place in range(1, len(operands) + 1)]
    edges = [o for o in operands if store.kind[o] == VARIABLE]
    if store.kind[gate] == TIMES and len(operands) == 2 and len(edges) == 1:
        target = store.variables[int(store.variable[edges[0]])].target
        if target is not None:
            labels[operands[0] == edges[0]] = (naming or Naming()).neuron(target)
    return labels
