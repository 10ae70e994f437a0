"""The drawing for those without graphviz: levels by networkx, strokes by matplotlib, which is an optional package."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from provnet.circuit.gates import PLUS, TIMES, VARIABLE, GateStore
from provnet.on_use import installed, on_use
from provnet.symbolic.layout import shared_names
from provnet.writers.dot import FILL, INK, PALE, SYMBOL, wire_labels

if TYPE_CHECKING:
    import networkx as nx
else:
    nx = on_use("networkx")

if TYPE_CHECKING:
    import matplotlib
    from matplotlib import figure as figures
    from matplotlib.backends import backend_agg
else:
    matplotlib, figures = on_use("matplotlib"), on_use("matplotlib.figure")
    backend_agg = on_use("matplotlib.backends.backend_agg")

HAS_MATPLOTLIB = installed("matplotlib")  # an optional package

SWEEPS = 12
"""Rounds of ordering each level by the mean place of its neighbours; more changes nothing on circuits of 500 gates."""

Places = dict[Any, tuple[float, float]]


def draw(store: GateStore, format: str) -> bytes:
    """Return a cone's picture as SVG, PDF or PNG. Equal gates give equal bytes; matplotlib's state stays as it is."""
    graph = as_graph(store)
    places = arrange(graph)
    left, right = min(x for x, _ in places.values()) - 0.7, max(x for x, _ in places.values()) + 0.7
    top = max(y for _, y in places.values())
    settings: Any = {"svg.hashsalt": "provnet", "svg.fonttype": "none", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        figure = figures.Figure(figsize=(min(60, 0.85 * (right - left)), min(60, 0.9 * (top + 1))))
        backend_agg.FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(left, right), ylim=(-0.5, top + 0.5))
        axes.axis("off")
        _draw_wires(axes, graph, places)
        for node, (x, y) in places.items():
            _draw_node(axes, graph.nodes[node], x, y)
        file = io.BytesIO()
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(file, format=format, dpi=110, metadata=dates.get(format, {}))
    return file.getvalue()


def as_graph(store: GateStore) -> nx.MultiDiGraph:
    """Return the gates and the roots' names as a networkx graph, operand -> gate, with what is written on each."""
    graph = nx.MultiDiGraph()
    names = shared_names(store)
    for gate, kind in enumerate(store.kind.tolist()):
        label = store.variables[store.variable[gate]].name if kind == VARIABLE else SYMBOL[kind]
        graph.add_node(gate, label=label, fill=FILL[kind], round=kind in (PLUS, TIMES), name=names.get(gate, ""))
        for operand, wire in zip(store.operands_of(gate).tolist(), wire_labels(store, gate), strict=True):
            graph.add_edge(operand, gate, label=wire)
    for k, (neuron, gate) in enumerate(zip(store.roots, store.root_gates.tolist(), strict=True)):
        graph.add_node(f"root{k}", label=str(neuron), fill="#e3f3df", round=False, name="")
        graph.add_edge(gate, f"root{k}", label="")
    return graph


def arrange(graph: nx.MultiDiGraph) -> Places:
    """Return a place for each node: leaves one level below their lowest gate, others above all that they use."""
    level: dict[Any, int] = {}
    order = list(nx.topological_sort(graph))
    for node in order:
        level[node] = 1 + max((level[below] for below in graph.predecessors(node)), default=-1)
    top = max(level.values())
    for node in reversed(order):
        if not graph.in_degree(node):
            level[node] = min((level[above] for above in graph.successors(node)), default=1) - 1
        elif not graph.out_degree(node):
            level[node] = top
    rows: list[list[Any]] = [[] for _ in range(top + 1)]
    for node in order:
        rows[level[node]].append(node)
    x = {node: k - len(row) / 2 for row in rows for k, node in enumerate(row)}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            near = {n: [x[m] for m in (*graph.predecessors(n), *graph.successors(n))] for n in row}
            wanted = {n: sum(places) / len(places) if places else x[n] for n, places in near.items()}
            _place(sorted(row, key=lambda n: (wanted[n], x[n])), wanted, x)
    return {node: (x[node], float(level[node])) for node in order}


def _place(row: list[Any], wanted: dict[Any, float], x: dict[Any, float]) -> None:
    """Give the row's nodes, in order, places at least one apart, as near as can be to where they want to be."""
    groups: list[tuple[float, int]] = []  # (sum of wanted starts, number of nodes) of nodes that touch each other
    for node in row:
        total, size = wanted[node], 1
        while groups and groups[-1][0] / groups[-1][1] + groups[-1][1] > total / size:
            before, many = groups.pop()
            total, size = before + total - many * size, many + size
        groups.append((total, size))
    at = iter(row)
    for total, size in groups:
        for k in range(size):
            x[next(at)] = total / size + k


def _draw_wires(axes: Any, graph: nx.MultiDiGraph, places: Places) -> None:
    for below, above, key, label in graph.edges(keys=True, data="label"):
        bend = 0.0 if graph.number_of_edges(below, above) == 1 else 0.25 * (key + 1)
        arrow = {
            "arrowstyle": "-|>",
            "color": PALE,
            "lw": 0.7,
            "shrinkA": 9,
            "shrinkB": 11,
            "connectionstyle": f"arc3,rad={bend}",
        }
        axes.annotate("", places[above], places[below], arrowprops=arrow, zorder=1)
        (x0, y0), (x1, y1) = places[below], places[above]
        # Nearer to the end, where a gate's wires lie apart from each other, and to the right, where a bent wire runs.
        x, y = x0 + 0.62 * (x1 - x0) + bend * (y1 - y0) / 2, y0 + 0.62 * (y1 - y0) - bend * (x1 - x0) / 2
        axes.text(x, y, label, size=6, color=PALE, ha="center", va="center", zorder=2, bbox=_patch("white", 0.5))


def _patch(fill: str, pad: float, style: str = "round", edge: str = "none") -> dict[str, Any]:
    return {"boxstyle": f"{style},pad={pad / 4}", "fc": fill, "ec": edge, "lw": 0.8}


def _draw_node(axes: Any, node: dict[str, Any], x: float, y: float) -> None:
    shape = _patch(node["fill"], 1.0, "circle" if node["round"] else "round", INK)
    axes.text(x, y, node["label"], size=11 if node["round"] else 7, ha="center", va="center", zorder=3, bbox=shape)
    if node["name"]:
        axes.text(x - 0.18, y + 0.14, node["name"], size=8, color=INK, ha="right", zorder=4)
