"""Formulas as plain text."""

from __future__ import annotations

from pathlib import Path

from provnet.symbolic.canonical import cone
from provnet.symbolic.formula import WIDTH, layout_text
from provnet.symbolic.layout import LIMIT
from provnet.symbolic.polynomial import Polynomial
from provnet.writers.atomic import write_string
from provnet.writers.base import StrPath, Subject, gates_of, writer
from provnet.writers.writable_names import require_writable


@writer("text", "txt")
def write_text(
    subject: Subject | Polynomial, path: StrPath, unicode: bool = True, limit: int = LIMIT, width: int = WIDTH
) -> Path:
    """Write formulas as text: one expression for a formula, a line `path[0, 4] = …` for each root of several.

    Gates that are used more than once are defined first. A single formula is read back by `symbolic.parse`.
    Raises `LimitError` above `limit` symbols, `OutputError`.
    """
    if isinstance(subject, Polynomial):
        require_writable(subject.variables)
        return write_string(path, subject.text(unicode, limit))
    store = gates_of(subject)
    below = cone(store, store.root_gates.tolist(), store.roots)
    return write_string(path, layout_text(below, unicode, limit, width))
