"""What an evaluation costs as networks and batches grow. `python -m tests.benchmarks.bench_cost [edges|batch] [--draw]`

edges   dense networks of growing width and convolutions of growing channels and resolution, 10^5 to 10^10 edges
batch   one network of each kind in batches of 1 to 256

In real, Boolean, Viterbi and counting: the second evaluation of a circuit, median of a few. JSON lines on stdout; the
last of them are slopes of log time over log size, fitted from 10^8 edges on (1 is linear). --draw writes
docs/pictures/cost.svg, for which it needs both parts and matplotlib.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import provnet
from provnet.semirings.counting import Counting
from tests.benchmarks.clock import interleaved, report
from tests.nets import perceptron

ASKED: dict[str, Any] = {
    "real": "real",
    "Boolean": "boolean",
    "Viterbi": "viterbi",
    "counting": Counting("float64"),
}
PICTURE = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "cost.svg"
LARGE = 1e8
"""Edges from which slopes are fitted: below, the cost is that of Python, whatever the size."""

WIDTHS = (182, 577, 1826, 5774, 10000)
"""Of three dense layers: 10^5 to 3·10^8 edges. Wider ones would need more memory for weights than time."""
GRIDS = ((8, 8), (16, 16), (32, 32), (64, 64), (64, 128), (64, 256))
"""Channels and pixels of four convolutions: 10^5 to 10^10 edges."""
BATCHES = (1, 4, 16, 64, 256)

Point = tuple[str, str, float, float]
"""Network, semiring, edges of all examples, seconds."""


def dense(width: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return perceptron(width, width, width, width), torch.rand(1, width)


def convolutions(channels: int, pixels: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval(), torch.rand(1, channels, pixels, pixels)


def measured(network: str, model: nn.Module, x: Tensor, part: str) -> list[Point]:
    """Evaluate for all outputs at once: the start is one at each, so that every layer has work to do."""
    model.requires_grad_(False)
    circuit = provnet.trace(model, x)
    edges, target = circuit.edges * circuit.batch, torch.ones_like(circuit.outputs[0], dtype=torch.bool)
    rounds = 15 if edges < 1e7 else 5 if edges < 1e9 else 2
    ways = {name: partial(circuit.evaluate, given, weighting(given, target)) for name, given in ASKED.items()}
    taken = interleaved(ways, rounds, warm=2 if edges < 1e9 else 1)
    for name, seconds in taken.items():
        figures = {"network": network, "way": name, "batch": circuit.batch, "edges": edges}
        report(f"cost by {part}", **figures, ms=seconds * 1e3, ns_an_edge=seconds / edges * 1e9)
    gc.collect()
    return [(network, name, float(edges), seconds) for name, seconds in taken.items()]


def weighting(semiring: Any, everywhere: Tensor) -> Tensor:
    """Return a target of every output with weight one, in the dtype that a semiring wants."""
    return everywhere if semiring == "boolean" else everywhere.to(torch.float32)


def by_edges() -> list[Point]:
    points: list[Point] = []
    for width in WIDTHS:
        points += measured("dense", *dense(width), "edges")
    for channels, pixels in GRIDS:
        points += measured("convolutions", *convolutions(channels, pixels), "edges")
    return points


def by_batch() -> list[Point]:
    points: list[Point] = []
    for network, (model, x) in (("dense", dense(1826)), ("convolutions", convolutions(32, 32))):
        for batch in BATCHES:
            points += measured(network, model, torch.rand(batch, *x.shape[1:]), "batch")
    return points


def slopes(points: Iterable[Point], part: str) -> None:
    """Report the slope of log seconds over log edges of each network and semiring."""
    listed = list(points)
    for network in dict.fromkeys(point[0] for point in listed):
        for name in ASKED:
            own = [(e, s) for n, w, e, s in listed if (n, w) == (network, name)]
            large = [(e, s) for e, s in own if e >= LARGE]
            if len(large) < 2:
                large = own[-2:]
            edges, seconds = np.log(np.array(large)).T
            slope = float(np.polyfit(edges, seconds, 1)[0])
            report(f"slope by {part}", network=network, way=name, slope=slope, from_edges=float(large[0][0]))


def draw(edges: list[Point], batches: list[Point]) -> None:
    """Write the picture: two panels, log-log, a line a semiring and kind of network; dashed what is linear."""
    # The same numbers give the same file, and letters stay letters.
    with matplotlib.rc_context({"svg.hashsalt": "cost", "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        panel(left, edges, "larger networks, batch 1")
        panel(right, batches, "larger batches")
        left.set_ylabel("seconds")
        left.legend(fontsize=7.5, loc="upper left")
        figure.savefig(PICTURE, metadata={"Date": None})


def panel(axes: Any, points: list[Point], title: str) -> None:
    for color, name in enumerate(ASKED):
        for network, style in (("dense", "o:"), ("convolutions", "s-")):
            own = [(e, s) for n, w, e, s in points if (n, w) == (network, name)]
            axes.plot(*zip(*own, strict=True), style, color=f"C{color}", markersize=4, label=f"{name}, {network}")
    ends = np.array([1e5, 2e10])
    axes.plot(ends, ends * 5e-11, "--", color="0.6", label="linear: 0.05 ns an edge")
    axes.set(xscale="log", yscale="log", ylim=(5e-4, 3), xlabel="edges, all examples", title=title)
    axes.grid(alpha=0.3)


def main(arguments: list[str]) -> None:
    parts = [a for a in arguments if a != "--draw"] or ["edges", "batch"]
    edges = by_edges() if "edges" in parts else []
    batches = by_batch() if "batch" in parts else []
    for part, points in (("edges", edges), ("batch", batches)):
        slopes(points, part)
    if "--draw" in arguments and edges and batches:
        draw(edges, batches)


if __name__ == "__main__":
    main(sys.argv[1:])
