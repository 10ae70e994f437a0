"""Relevance as matplotlib figures: pictures, rows of features, and grids of several results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from provnet.errors import MissingProgramError, OptionError
from provnet.on_use import installed, on_use
from provnet.semirings.base import Semiring

if TYPE_CHECKING:
    import matplotlib
    from matplotlib import figure as figures
    from matplotlib.backends import backend_agg
else:
    matplotlib, figures = on_use("matplotlib"), on_use("matplotlib.figure")
    backend_agg = on_use("matplotlib.backends.backend_agg")

HAS_MATPLOTLIB = installed("matplotlib")  # an optional package

Floats = NDArray[np.float64]

SIGNED, UNSIGNED = "RdBu_r", "inferno"
"""Colour maps of rings, where zero is in the middle, and of the others."""

MOST_BARS = 60
"""Features up to which each has a labelled bar of its own."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure: elements [height, width] or [features], in one semiring.

    over   the input in the same shape, shown in grey beneath; None: nothing beneath.
    """

    title: str
    semiring: Semiring
    elements: Any
    over: Any = None
    names: Sequence[str] = ()


def figure_of(
    panels: Sequence[Panel],
    columns: int | None = None,
    clip: float = 100.0,
    cmap: str | None = None,
    colorbar: bool = True,
    alpha: float = 0.6,
) -> Any:
    """Return a matplotlib figure of panels, row by row.

    clip    percentile of the sizes at which colours end, so that one extreme entry does not make all others pale.
    cmap    a colour map's name; None: one with zero in the middle for rings, else one from dark to light.
    alpha   how opaque relevance lies over an input.
    Raises: `MissingProgramError` without matplotlib; `OptionError` for an unknown map or percentile.
    """
    if not HAS_MATPLOTLIB:
        raise MissingProgramError("a plot needs matplotlib, which is not installed: pip install 'provnet[demo]'.")
    if not 0 < clip <= 100:
        raise OptionError(f"clip={clip!r}: give a percentile above 0 and at most 100, such as clip=99.")
    if cmap is not None and cmap not in matplotlib.colormaps:
        raise OptionError(f"cmap={cmap!r} is no colour map of matplotlib: take 'viridis', 'RdBu_r' or None.")
    wide = columns or min(len(panels), 4)
    high = -(-len(panels) // wide)
    figure = figures.Figure(figsize=(3.2 * wide + 0.4, 3.0 * high), layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(high, wide, number)
        axes.set_title(panel.title, fontsize=9, parse_math=False)
        values = np.asarray(panel.elements, np.float64)
        low, top = limits(panel.semiring, values, clip)
        name = cmap or map_of(panel.semiring)
        if values.ndim == 1:
            _bars(axes, panel, values, matplotlib.colormaps[name], low, top)
            continue
        image = _image(axes, panel, values, name, (low, top), alpha)
        if colorbar:
            figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def map_of(semiring: Semiring) -> str:
    """Return the colour map of a semiring: light is strong, so where elements are costs it runs the other way."""
    if semiring.ring:
        return SIGNED
    return f"{UNSIGNED}_r" if semiring.zero == float("inf") else UNSIGNED


def limits(semiring: Semiring, values: Floats, clip: float = 100.0) -> tuple[float, float]:
    """Return where the colours of elements begin and end: around zero in rings; infinities are left out."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    if semiring.ring:
        top = float(np.percentile(np.abs(finite), clip)) or float(np.abs(finite).max()) or 1.0
        return -top, top
    low, top = float(finite.min()), float(np.percentile(finite, clip))
    if isinstance(semiring.zero, int | float) and np.isfinite(float(semiring.zero)):
        low = float(semiring.zero)
    return (low, top) if top > low else (low, low + 1.0)


def _image(axes: Any, panel: Panel, values: Floats, cmap: str, ends: tuple[float, float], alpha: float) -> Any:
    if panel.over is not None:
        axes.imshow(np.asarray(panel.over, np.float64), cmap="gray", interpolation="nearest")
    shown = np.ma.masked_invalid(values)
    see_through = alpha if panel.over is not None else 1.0
    image = axes.imshow(shown, cmap=cmap, vmin=ends[0], vmax=ends[1], alpha=see_through, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    return image


def _bars(axes: Any, panel: Panel, values: Floats, cmap: Any, low: float, top: float) -> None:
    shown = np.where(np.isfinite(values), values, np.nan)
    colours = cmap((np.nan_to_num(shown) - low) / ((top - low) or 1.0))
    axes.bar(np.arange(len(values)), shown, color=colours, edgecolor="#555555", linewidth=0.3)
    if panel.semiring.ring:
        axes.axhline(0, color="#555555", linewidth=0.6)
    if len(values) <= MOST_BARS:
        names = list(panel.names) or [str(i) for i in range(len(values))]
        labels = [name.replace("$", r"\$") for name in names]
        axes.set_xticks(range(len(values)), labels, rotation=90 if len(values) > 10 else 0, fontsize=7)
