"""The two kinds of figure that the reproduction draws: sheets of pictures, and curves. Both become PNG files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from provnet.errors import MissingProgramError
from provnet.writers.atomic import write_bytes

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    HAS_MATPLOTLIB = True
except ImportError:  # an optional package
    HAS_MATPLOTLIB = False

DPI = 80


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture of a sheet: values [height, width] or RGB [height, width, 3], and how they are coloured.

    kind   "ink": grey, 1 is dark. "signed": red above zero, blue below. "strength": light is strong, from zero up.
           "mask": black and white. "photograph": RGB as it is.
    """

    title: str
    values: Any
    kind: str = "strength"


MAPS = {"ink": "gray_r", "signed": "RdBu_r", "strength": "inferno", "mask": "gray", "photograph": None}


def require_matplotlib() -> None:
    """Raise `MissingProgramError` without matplotlib."""
    if not HAS_MATPLOTLIB:
        raise MissingProgramError("the figures need matplotlib, which is not installed: pip install 'provnet[demo]'.")


def sheet_of(pictures: Sequence[Shown], path: Path, columns: int, side: float = 1.9) -> None:
    """Write pictures row by row to one PNG, each `side` inches wide. Raises: `MissingProgramError`, `OutputError`."""
    require_matplotlib()
    lines = -(-len(pictures) // columns)
    high, wide = np.shape(pictures[0].values)[:2]
    figure = Figure(figsize=(side * columns, (side * high / wide + 0.3) * lines), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for number, picture in enumerate(pictures, start=1):
        axes = figure.add_subplot(lines, columns, number)
        axes.set_title(picture.title, fontsize=8, parse_math=False)
        axes.set_axis_off()
        values = np.asarray(picture.values, np.float64)
        low, top = _ends(picture.kind, values)
        axes.imshow(values, cmap=MAPS[picture.kind], vmin=low, vmax=top, interpolation="nearest")
    _write(figure, path)


def curves_of(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], path: Path, across: str
) -> None:
    """Write panels of curves beside each other to one PNG: title -> (name -> (places, values)).

    across   what the horizontal axis is. Raises: `MissingProgramError`, `OutputError`.
    """
    require_matplotlib()
    figure = Figure(figsize=(4.6 * len(panels), 3.4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for name, (places, values) in lines.items():
            axes.plot(places, values, label=name, linewidth=1.3)
        axes.set_title(title, fontsize=9, parse_math=False)
        axes.set_xlabel(across, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
        if number == 1:
            axes.legend(fontsize=7)
    _write(figure, path)


def _ends(kind: str, values: Any) -> tuple[float | None, float | None]:
    if kind in ("ink", "mask", "photograph"):
        return 0.0, 1.0
    # One extreme entry should not make all the others pale.
    top = float(np.percentile(np.abs(values), 99.5)) or float(np.abs(values).max()) or 1.0
    return (-top, top) if kind == "signed" else (0.0, top)


def _write(figure: Any, path: Path) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    write_bytes(path, file.getvalue())
