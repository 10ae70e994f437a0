"""The conservation report as a picture: for every layer what was passed on, and which sink took the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provnet.errors import MissingProgramError, OptionError
from provnet.face import Conservation
from provnet.on_use import installed, on_use

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = on_use("matplotlib.figure")


def plot_conservation(report: Conservation, example: int = 0) -> Any:
    """Return a matplotlib figure of one example: stacked bars by layer, the target at the top, what came as a line.

    For semirings whose elements are numbers; where ⊕ is no sum, bars stand side by side in meaning, not in height.
    Raises: `MissingProgramError` without matplotlib; `OptionError` for an example that there is not.
    """
    if not installed("matplotlib"):
        raise MissingProgramError("a plot needs matplotlib, which is not installed: pip install 'provnet[demo]'.")
    if report.start.dim() != 1 or not 0 <= example < len(report.start):
        raise OptionError(f"example {example}: the report's elements have the shape {tuple(report.start.shape)}.")
    layers = report.layers
    names = ["passed", *report.named]
    figure = figures.Figure(figsize=(8, 0.35 * len(layers) + 1.5), layout="tight")
    axes = figure.subplots()
    rows = range(len(layers))
    up, down = [0.0] * len(layers), [0.0] * len(layers)
    for name in names:
        widths = [
            float(layer.passed[example]) if name == "passed" else _taken(layer.sinks.get(name), example)
            for layer in layers
        ]
        # Negative parts are stacked to the left, so that nothing hides behind another.
        left = [u if w >= 0 else d for u, d, w in zip(up, down, widths, strict=True)]
        up = [u + max(w, 0) for u, w in zip(up, widths, strict=True)]
        down = [d + min(w, 0) for d, w in zip(down, widths, strict=True)]
        axes.barh(rows, widths, left=left, label=name)
    axes.plot([float(layer.came[example]) for layer in layers], rows, "k|", markersize=12, label="came")
    axes.set_yticks(rows, [layer.path for layer in layers])
    axes.invert_yaxis()
    axes.set_xlabel(f"relevance in {report.semiring}")
    axes.legend(fontsize="small")
    return figure


def _taken(taken: Any, example: int) -> float:
    return 0.0 if taken is None else float(taken[example])
