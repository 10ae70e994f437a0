"""The templates of whole pages, the studio's and the demo's report: one frame, one set of colours, shared parts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provnet import __version__
from provnet.on_use import on_use

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = on_use("jinja2")

FOLDER = Path(__file__).with_name("templates")


@cache
def templates() -> jinja2.Environment:
    """Return the templates: every value is escaped unless one says `safe`, and a value that is missing is an error."""
    found = jinja2.FileSystemLoader(FOLDER)
    return jinja2.Environment(
        loader=found, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


@cache
def text_of(name: str) -> str:
    """Return a file of the templates' folder as it is: a style sheet."""
    return (FOLDER / name).read_text("utf-8")


def render(name: str, **given: Any) -> str:
    """Return a page. `name`: its template. `given`: the template's values; `theme` and `version` are there already."""
    return templates().get_template(name).render(theme=text_of("theme.css"), version=__version__, **given)
