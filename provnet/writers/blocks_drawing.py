"""A circuit's blocks as a picture's description: one box a block, from the sources at the bottom to the outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provnet.circuit.blocks import BlockCircuit
from provnet.errors import LimitError
from provnet.on_use import on_use
from provnet.writers.dot import INK, PALE, label_text

if TYPE_CHECKING:
    import graphviz
else:
    graphviz = on_use("graphviz")

LIMIT = 400
"""Blocks that are drawn unless a caller asks for more."""

FILL = {"affine": "#d8e8fb", "selection": "#fbdfdc", "elementwise": "#f2f2f2", "index": "#f2f2f2"}


def blocks_dot(circuit: BlockCircuit, limit: int = LIMIT) -> str:
    """Return the DOT text of a circuit's blocks: path, op and shape in each box, the number of edges on each arrow.

    Raises: `LimitError` above `limit` blocks.
    """
    if len(circuit.blocks) > limit:
        raise LimitError(
            f"a drawing of {len(circuit.blocks):,} blocks is more than limit={limit:,}: raise limit, or read "
            "circuit.summary()."
        )
    graph = graphviz.Digraph("circuit", node_attr={"fontname": "Helvetica", "fontsize": "11", "color": INK})
    graph.attr(rankdir="BT", ranksep="0.35", nodesep="0.25", ordering="in")
    graph.attr("edge", color=PALE, fontcolor=PALE, fontname="Helvetica", fontsize="8", arrowsize="0.5")
    for source in circuit.sources:
        held = circuit.activations[source]
        graph.node(f"a{source}", label_text(f"{held.name}\n{_shape(held.shape)}"), shape="cds", style="filled",
                   fillcolor="#e3f3df")  # fmt: skip
    for number, block in enumerate(circuit.blocks):
        held = circuit.activations[block.output]
        name = f"{block.path}\n{block.op}\n{_shape(held.shape)}"
        graph.node(f"b{number}", label_text(name), shape="box", style="filled,rounded", fillcolor=FILL[block.kind])
    made = {block.output: f"b{number}" for number, block in enumerate(circuit.blocks)}
    for number, block in enumerate(circuit.blocks):
        edges = f" {block.wiring.edges:,}" if block.has_coefficients else ""
        for place, below in enumerate(block.inputs):
            graph.edge(made.get(below, f"a{below}"), f"b{number}", label=edges if place == 0 else "")
    for output in circuit.outputs:
        held = circuit.activations[output]
        graph.node(f"o{output}", label_text(held.name), shape="cds", style="filled", fillcolor="#fff7d6")
        graph.edge(made.get(output, f"a{output}"), f"o{output}", style="bold", color=INK)
    return graph.source


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "1"
