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
TITLE = 0.28
"""The height of a picture's title, in inches."""


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
    cell = (side, side * high / wide + TITLE)
    size = (cell[0] * columns, cell[1] * lines)
    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    for number, picture in enumerate(pictures):
        # Places are worked out here: matplotlib's own layouts take most of the time of a small figure.
        left, top = number % columns * cell[0], size[1] - number // columns * cell[1]
        place = (left + 0.04, top - cell[1] + 0.04, side - 0.08, cell[1] - TITLE - 0.08)
        axes = figure.add_axes((place[0] / size[0], place[1] / size[1], place[2] / size[0], place[3] / size[1]))
        axes.set_axis_off()
        middle = ((left + side / 2) / size[0], (top - TITLE / 2) / size[1])
        figure.text(*middle, picture.title, fontsize=8, ha="center", va="center", parse_math=False)
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
    figure = Figure(figsize=(4.6 * len(panels), 3.4), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.45 / (4.6 * len(panels)), right=0.995, bottom=0.14, top=0.92, wspace=0.12)
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
