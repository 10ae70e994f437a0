"""Every message of the package that gives advice in code: found in its source, so that none is forgotten."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

PACKAGE = Path(__file__).resolve().parents[2] / "provnet"

CODE = re.compile(r"\b[\w.]+\([^)\s]*\)|\b[a-z_]+=(?!=)|pip install|(?<!\w)--[a-z]{3,}|provnet\.\w+|opaque")
"""What looks like code in a sentence: a call, a keyword argument, an option, a command."""

RAISING = frozenset({"warn", "crosses", "missing"})
HOLE = "{}"


@dataclass(frozen=True)
class Site:
    """One message: where it stands, and its text with holes for what is filled in."""

    file: str
    line: int
    text: str

    @property
    def advice(self) -> str:
        """The sentences after the first clause that hold code; "" if there are none."""
        clauses = re.split(r"(?<=[.:;,]) ", self.text)[1:]
        return " ".join(clause for clause in clauses if CODE.search(clause))


def sites() -> list[Site]:
    """Return all messages of the package that advise code."""
    found = [site for path in sorted(PACKAGE.rglob("*.py")) for site in messages(path)]
    return [site for site in found if site.advice]


def messages(path: Path, root: Path = PACKAGE) -> Iterator[Site]:
    """Yield the messages of one file: what errors and warnings say, texts by name and from functions included."""
    tree = ast.parse(path.read_text("utf-8"))
    kept: dict[str, str] = {}
    for _ in range(2):  # a text may be made of another one that stands below it
        kept |= _texts(tree, kept)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _raises(node):
            said = "".join(text(argument, kept) for argument in node.args)
            yield Site(str(path.relative_to(root)), node.lineno, said)


def _texts(tree: ast.Module, kept: dict[str, str]) -> dict[str, str]:
    """Return the texts of a file by name: what is assigned to a variable, and what a function returns."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            returned = (part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value)
            found[node.name] = " ".join(text(value, kept) for value in returned)
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = f"{found.get(target.id, '')}{text(node.value, kept)}"
    return found


def _raises(call: ast.Call) -> bool:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    return name.endswith("Error") or name in RAISING


def text(node: ast.expr, kept: dict[str, str] | None = None) -> str:
    """Return the constant parts of a text, with {} where something is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part, kept) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return text(node.value, kept) or HOLE
    if isinstance(node, ast.BinOp):
        return text(node.left, kept) + text(node.right, kept)
    if isinstance(node, ast.IfExp):
        return text(node.body, kept) + text(node.orelse, kept)
    name = node.func if isinstance(node, ast.Call) else node
    return (kept or {}).get(name.id, "") if isinstance(name, ast.Name) else ""


# --- the table --------------------------------------------------------------------------------------------------------

TABLE: dict[str, Callable[..., Any]] = {}
"""A piece of a message's text -> the test that provokes the message and follows its advice."""

F = TypeVar("F", bound=Callable[..., Any])


def follows(*pieces: str) -> Callable[[F], F]:
    """Mark a test as the one that follows the advice of the messages that hold these pieces of text."""

    def file(test: F) -> F:
        for piece in pieces:
            assert piece not in TABLE, f"{piece!r} has a test already: {TABLE[piece].__name__}"
            TABLE[piece] = test
        return test

    return file
