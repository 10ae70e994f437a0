"""Formulas and polynomials as LaTeX, to be included in a document that uses amsmath."""

from __future__ import annotations

from pathlib import Path

from provnet.symbolic.canonical import cone
from provnet.symbolic.formula import layout_latex
from provnet.symbolic.layout import LIMIT
from provnet.symbolic.polynomial import Polynomial
from provnet.writers.atomic import write_string
from provnet.writers.base import StrPath, Subject, gates_of, writer
from provnet.writers.writable_names import require_writable

_DOCUMENT = r"""\documentclass[border=4pt]{standalone}
\usepackage{amsmath}
\begin{document}
$\displaystyle
%s
$
\end{document}"""


@writer("latex", "tex")
def write_latex(subject: Subject | Polynomial, path: StrPath, document: bool = False, limit: int = LIMIT) -> Path:
    r"""Write formulas as LaTeX: a displayed equation for `\input`, or a whole `document` that compiles by itself.

    Raises `LimitError` above `limit` symbols, `OutputError`.
    """
    if isinstance(subject, Polynomial):
        require_writable(subject.variables)
        mathematics = subject.latex(limit)
    else:
        store = gates_of(subject)
        mathematics = layout_latex(cone(store, store.root_gates.tolist(), store.roots), limit)
    return write_string(path, _DOCUMENT % mathematics if document else f"\\[\n{mathematics}\n\\]")
