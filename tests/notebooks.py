"""Notebooks run without Jupyter: each cell in turn, its last expression shown as Jupyter would show it."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN = {"text/html": "_repr_html_", "text/latex": "_repr_latex_", "image/svg+xml": "_repr_svg_"}
"""What a front end asks an object for, by the kind of content."""


@dataclass(frozen=True)
class Output:
    """What a cell printed, and what its last expression shows, by the kind of content."""

    printed: str
    shown: dict[str, str]


def run(path: Path) -> list[Output]:
    """Run the code cells of a notebook in one namespace."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [run_cell(text, names, f"{path.name}, cell {number}") for number, text in enumerate(code, 1)]


def run_cell(text: str, names: dict[str, Any], where: str) -> Output:
    """Run one cell. Its last statement is shown if it is an expression that does not end with a semicolon."""
    tree = ast.parse(text, where)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, where, "exec", dont_inherit=True), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), where, "eval", dont_inherit=True), names)
    quiet = value is None or text.rstrip().endswith(";")
    return Output(printed.getvalue(), {} if quiet else shown(value))


def shown(value: Any) -> dict[str, str]:
    """Return what a front end is given of an object; `_repr_mimebundle_`, as graphviz has it, before the rest."""
    bundle = getattr(value, "_repr_mimebundle_", None)
    found: dict[str, str] = dict(bundle(include=None, exclude=None)) if bundle is not None else {}
    for kind, method in SHOWN.items():
        made = getattr(value, method)() if kind not in found and hasattr(value, method) else None
        if made is not None:
            found[kind] = made
    return {"text/plain": repr(value)} | found
