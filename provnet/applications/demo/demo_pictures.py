"""The demo's pictures: heatmaps as PNG, the curve of the search as SVG, the circuit drawn by graphviz."""

from __future__ import annotations

import base64
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

from provnet.applications.demo.demo_answers import DemoAnswers
from provnet.applications.demo.demo_questions import DemoQuestion
from provnet.applications.demo.threshold_search import Search
from provnet.applications.heatmaps import Pixels, grey, heatmap, png
from provnet.errors import MissingProgramWarning
from provnet.face import GateCircuit
from provnet.semirings import get
from provnet.writers.picture import write_svg

SIDE = 112
"""Pixels across a heatmap, roughly: an 8 × 8 digit is enlarged 14 times, a 28 × 28 one 4 times."""


def enlargement(answers: DemoAnswers) -> int:
    """Return how many times pictures are enlarged."""
    return max(1, SIDE // answers.subject.images.shape[-1])


def digit_picture(answers: DemoAnswers, k: int) -> Pixels:
    """Return the k-th digit, ink dark."""
    return grey(answers.image(k), enlargement(answers))


def answer_picture(answers: DemoAnswers, question: DemoQuestion, k: int) -> Pixels:
    """Return the k-th digit's answer to a question."""
    return heatmap(question.semiring, answers.picture(answers.of(question, k)), enlargement(answers))


def class_picture(answers: DemoAnswers, name: str, target: int) -> Pixels:
    """Return the first digit's answer if class `target` is asked about."""
    found = answers.picture(answers.classes[name][target])
    return heatmap(get("real" if name == "real" else "boolean"), found, enlargement(answers))


def data_uri(data: bytes, kind: str) -> str:
    """Return a file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Image:
    """A picture for a page: an address that holds its pixels, its size, and what it shows in words."""

    source: str
    width: int
    height: int
    alt: str


def image(pixels: Pixels, alt: str) -> Image:
    """Return pixels as a picture for a page."""
    high, wide = pixels.shape[:2]
    return Image(data_uri(png(pixels), "image/png"), wide, high, alt)


@dataclass(frozen=True)
class Drawing:
    """A drawn circuit: the files that were written, the picture if there is one, and what was missing."""

    files: tuple[Path, ...]
    svg: bytes | None
    missing: tuple[str, ...]


def draw(gates: GateCircuit, folder: Path) -> Drawing:
    """Draw gates into `folder`/circuit.svg; without the program `dot`, as well as can be, and say so."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MissingProgramWarning)
        write_svg(gates, folder / "circuit.svg")
    # Paths in messages would differ from run to run: the folder is a draft that is moved when finished.
    missing = tuple(
        str(w.message).replace(f"{folder}/", "") for w in caught if issubclass(w.category, MissingProgramWarning)
    )
    files = tuple(sorted(folder.glob("circuit.*")))
    svg = folder / "circuit.svg"
    return Drawing(files, svg.read_bytes() if svg.is_file() else None, missing)


def curve(search: Search) -> str:
    """Return the search as SVG curves over θ."""
    wide, high, left, low = 720, 250, 52, 40

    def x(theta: float) -> float:
        first, last = math.log(search.grid[0]), math.log(search.grid[-1])
        return left + (math.log(theta) - first) / (last - first) * (wide - left - 16)

    def y(share: float) -> float:
        return high - low - share * (high - low - 18)

    def line(shares: tuple[float, ...], colour: str, dash: str = "") -> str:
        points = " ".join(f"{x(t):.1f},{y(s):.1f}" for t, s in zip(search.grid, shares, strict=True))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'

    ink = 'font-size="12" fill="currentColor"'
    ticks = "".join(
        f'<text x="{x(t):.0f}" y="{high - low + 18}" text-anchor="middle" {ink}>{t:g}</text>'
        for t in (1e-4, 1e-3, 0.01, 0.1)
    )
    shares = "".join(
        f'<line x1="{left}" x2="{wide - 16}" y1="{y(s):.1f}" y2="{y(s):.1f}" stroke="currentColor" opacity=".15"/>'
        f'<text x="{left - 8}" y="{y(s) + 4:.1f}" text-anchor="end" {ink}>{s:.0%}</text>'
        for s in (0, 0.25, 0.5, 0.75, 1)
    )
    best = x(search.theta)
    chosen = (
        f'<line x1="{best:.1f}" x2="{best:.1f}" y1="14" y2="{high - low}" stroke="#a50f37" stroke-width="1.5"/>'
        f'<text x="{best - 6:.1f}" y="24" text-anchor="end" font-size="12" fill="#d0405f">θ = {search.theta:g}</text>'
    )
    label = f'<text x="{(left + wide) / 2:.0f}" y="{high - 6}" text-anchor="middle" {ink}>threshold θ</text>'
    lines = line(search.relevant, "#999999", "3 4") + line(search.same, "#e2603f", "8 3")
    lines += line(search.different, "#4382c4", "8 3") + line(search.apart, "#2a9d55")
    return (
        f'<svg class="curve" viewBox="0 0 {wide} {high}" role="img" aria-label="the search for a threshold">'
        f"{shares}{ticks}{lines}{chosen}{label}</svg>"
    )
