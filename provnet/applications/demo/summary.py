"""The demo in one picture: a digit, its answer in every semiring, a name above and a number below each."""

from __future__ import annotations

from html import escape

from provnet.applications.demo.demo_answers import DemoAnswers
from provnet.applications.demo.demo_pictures import answer_picture, data_uri, digit_picture
from provnet.applications.heatmaps import Pixels, png

SIDE, GAP, TOP, HIGH = 112, 14, 44, 208


def summary_svg(a: DemoAnswers) -> str:
    """Return the first digit's row of the report as an SVG picture that holds its pixels."""
    columns = [("digit", f"named {a.predicted[0]}", "", digit_picture(a, 0))]
    columns += [(q.name, q.spoken(a.of(q, 0)), q.algebra, answer_picture(a, q, 0)) for q in a.questions]
    wide = len(columns) * (SIDE + GAP) + GAP
    body = "".join(_column(GAP + k * (SIDE + GAP), *column) for k, column in enumerate(columns))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{HIGH}" viewBox="0 0 {wide} {HIGH}" '
        f'font-family="Helvetica, Arial, sans-serif" text-anchor="middle">'
        f'<rect width="{wide}" height="{HIGH}" rx="10" fill="#ffffff"/>{body}</svg>\n'
    )


def _column(x: int, name: str, number: str, algebra: str, picture: Pixels) -> str:
    middle = x + SIDE // 2
    size = 11 if len(algebra) < 22 else 8
    return (
        f'<text x="{middle}" y="26" font-size="15" font-weight="bold" fill="#1d1f23">{escape(name)}</text>'
        f'<image x="{x}" y="{TOP}" width="{SIDE}" height="{SIDE}" href="{data_uri(png(picture), "image/png")}"/>'
        f'<text x="{middle}" y="{TOP + SIDE + 20}" font-size="13" fill="#1d1f23">{escape(number)}</text>'
        f'<text x="{middle}" y="{TOP + SIDE + 38}" font-size="{size}" fill="#62676f">{escape(algebra)}</text>'
    )
