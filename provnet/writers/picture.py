"""Gates as a picture: SVG, PDF or PNG, drawn by graphviz; without its program by matplotlib, less well."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

from provnet.errors import MissingProgramError, MissingProgramWarning
from provnet.writers.atomic import write_bytes, write_string
from provnet.writers.base import StrPath, Subject, drawn, writer
from provnet.writers.dot import LIMIT, dot_text
from provnet.writers.plain_drawing import HAS_MATPLOTLIB, draw

SECONDS = 120
"""Graphviz takes about a second for 500 gates; a picture that takes minutes cannot be read."""


@writer("svg")
def write_svg(subject: Subject, path: StrPath, limit: int = LIMIT) -> Path:
    """Draw gates as SVG. See `write_picture`."""
    return write_picture(subject, path, "svg", limit)


@writer("pdf")
def write_pdf(subject: Subject, path: StrPath, limit: int = LIMIT) -> Path:
    """Draw gates as PDF. See `write_picture`."""
    return write_picture(subject, path, "pdf", limit)


@writer("png")
def write_png(subject: Subject, path: StrPath, limit: int = LIMIT) -> Path:
    """Draw gates as PNG. See `write_picture`."""
    return write_picture(subject, path, "png", limit)


def write_picture(subject: Subject, path: StrPath, format: str, limit: int = LIMIT) -> Path:
    """Draw the gates below the roots: variables below, neurons on top, every gate, wire and variable labelled.

    Where graphviz's program `dot` is missing, a warning says how to get it, the DOT text is written beside `path`,
    and the picture is drawn by matplotlib; without matplotlib there is the DOT text only, and its path is returned.
    Raises `LimitError` above `limit` gates, `OutputError`, `MissingProgramError` if `dot` fails.
    """
    store = drawn(subject, limit)
    text = dot_text(store)
    program = shutil.which("dot")
    if program is not None:
        return write_bytes(path, _graphviz(program, text, format))
    beside = write_string(Path(path).with_suffix(".dot"), text)
    way_out = "Install the package graphviz (apt install graphviz, brew install graphviz) for the proper drawing"
    if not HAS_MATPLOTLIB:
        warnings.warn(
            f"the program dot is missing, and so is matplotlib: only the DOT text {beside} was written. {way_out}.",
            MissingProgramWarning,
            stacklevel=3,
        )
        return beside
    warnings.warn(
        f"the program dot is missing: matplotlib drew {path} instead, and {beside} holds the DOT text. {way_out}.",
        MissingProgramWarning,
        stacklevel=3,
    )
    return write_bytes(path, draw(store, format))


def svg_of(text: str) -> str | None:
    """Return a DOT text as an SVG element; None where graphviz's program `dot` is missing."""
    program = shutil.which("dot")
    if program is None:
        return None
    drawn_ = _graphviz(program, text, "svg").decode("utf-8")
    return drawn_[drawn_.index("<svg") :]


def _graphviz(program: str, text: str, format: str) -> bytes:
    try:
        done = subprocess.run(
            [program, f"-T{format}"], input=text.encode(), capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingProgramError(
            f"{program} failed ({error}): write the format dot and draw that elsewhere."
        ) from error
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode(errors="replace").strip()[:300]
        raise MissingProgramError(f"{program} failed ({said}): repair graphviz, or write the format dot instead.")
    return done.stdout
