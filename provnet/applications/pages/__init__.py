"""The templates of whole pages, the studio's and the demo's report: one frame, one set of colours, shared parts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from provnet import __version__

FOLDER = Path(__file__).with_name("templates")
TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
"""Every value is escaped unless a template says `safe`, and a value that is missing is an error."""


@cache
def text_of(name: str) -> str:
    """Return a file of the templates' folder as it is: a style sheet."""
    return (FOLDER / name).read_text("utf-8")


def render(name: str, **given: Any) -> str:
    """Return a page. `name`: its template. `given`: the template's values; `theme` and `version` are there already."""
    return TEMPLATES.get_template(name).render(theme=text_of("theme.css"), version=__version__, **given)
