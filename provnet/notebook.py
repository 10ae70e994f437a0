"""What notebooks show of an object: a title, a table, a picture, a note, as HTML in which every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from provnet.on_use import on_use

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = on_use("jinja2")

ROWS = 60
"""Rows of a table that are shown; what follows is counted."""

_CARD = """\
<div style="font-family: sans-serif; max-width: 100%; overflow-x: auto">
<div style="font-weight: 600">{{ title }}</div>
{%- for line in lines %}
<div>{{ line }}</div>
{%- endfor %}
{%- if picture %}
<div>{{ picture | safe }}</div>
{%- endif %}
{%- if rows %}
<table>
<thead><tr>{% for name in columns %}<th style="text-align: left">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for row in rows %}
<tr>{% for cell in row %}<td style="text-align: left">{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
{%- endif %}
{%- if more %}
<div>… {{ more }} more rows</div>
{%- endif %}
{%- if code %}
<pre style="white-space: pre-wrap">{{ code }}</pre>
{%- endif %}
</div>
"""

_TOKENS = """\
<div style="font-family: sans-serif; line-height: 2">
{%- for token in tokens %}
<span title="{{ token.value }}" style="background: {{ token.colour }}; color: {{ token.ink }}; \
padding: 0.1em 0.25em; border-radius: 0.2em">{{ token.text }}</span>
{%- endfor %}
</div>
"""


@cache
def _template(source: str) -> jinja2.Template:
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)


def card(
    title: str,
    lines: Iterable[str] = (),
    columns: Sequence[str] = (),
    rows: Sequence[Sequence[Any]] = (),
    code: str = "",
    picture: str = "",
) -> str:
    """Return HTML of a title, lines of text, a table and a preformatted text.

    picture   HTML or SVG that is taken as it is: give what a program made of numbers, never a user's text.
    """
    return _template(_CARD).render(
        title=title,
        lines=list(lines),
        columns=columns,
        rows=rows[:ROWS],
        more=f"{len(rows) - ROWS:,}" if len(rows) > ROWS else "",
        code=code,
        picture=picture,
    )


def coloured_tokens(texts: Sequence[str], values: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> str:
    """Return tokens as HTML, each on its colour, with its value as the tooltip."""
    tokens = [
        {
            "text": text,
            "value": value,
            "colour": f"rgb({red}, {green}, {blue})",
            "ink": "#000" if 0.3 * red + 0.59 * green + 0.11 * blue > 128 else "#fff",
        }
        for text, value, (red, green, blue) in zip(texts, values, colours, strict=True)
    ]
    return _template(_TOKENS).render(tokens=tokens)
