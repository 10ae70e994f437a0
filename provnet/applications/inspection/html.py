"""The page as one HTML file: style, program and data within, so that it opens without server or network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from provnet.applications.command_questions import parse_target
from provnet.applications.inspection.model import Inspection, plain
from provnet.applications.inspection.whole_cones import inspect
from provnet.applications.pages import render
from provnet.circuit.gates import GateStore
from provnet.circuit.variables import Place
from provnet.errors import LimitError, OptionError
from provnet.face import Circuit, GateCircuit
from provnet.symbolic.formula import formula
from provnet.writers.atomic import write_string
from provnet.writers.base import StrPath, gates_of, writer

PAGE = Path(__file__).with_name("page")

FORMULAS = 200_000
"""Characters of formulas that a file carries, those nearest to the target first."""
FORMULA = 4_000
"""Symbols of one of them."""
FORMULA_GATES = 2_000
"""Gates of a circuit up to which a formula is written for each neuron."""


@cache
def part(name: str) -> str:
    """Return a part of the built page."""
    return (PAGE / name).read_text("utf-8")


def policy(connect: str) -> str:
    """Return the content security policy: this one program, and no address but `connect`."""
    digest = base64.b64encode(hashlib.sha256(part("studio.js").encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def page(title: str, data: Any, connect: str = "'none'") -> str:
    """Return the page with its data: {"inspection": …, "formulas": …}, or {"live": true, "base": …}."""
    # Inside a script element only "<" could end it; in JSON it stands in texts alone.
    text = json.dumps(plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return render(
        "studio.html.j2",
        title=title,
        policy=policy(connect),
        style=part("studio.css"),
        script=part("studio.js"),
        data=text.replace("<", "\\u003c"),
    )


@writer("html")
def write_html(
    subject: Circuit | GateCircuit | Inspection, path: StrPath, *, title: str | None = None, **options: Any
) -> Path:
    """Write a page of one file on which a cone is walked: neurons, gates, values in several semirings.

    subject   a circuit (`options` go to `inspect`: at=, target=, example=, semirings=, rule=, theta=, limit=),
              gates, or an inspection.
    path      of the file; its folder is there.   title   of the page; None: the model's name.
    Raises: `OutputError`; `LimitError` for a cone above `limit` gates, with its size.
    Example: `write_html(circuit, "cone.html", at=("fc1", 3))`
    """
    return write_string(path, one_file(subject, title, options))


def one_file(subject: Circuit | GateCircuit | Inspection, title: str | None, options: Mapping[str, Any]) -> str:
    """Return the page that `write_html` writes."""
    if isinstance(subject, Inspection):
        if options:
            raise OptionError(f"an inspection is finished: leave {', '.join(options)} out.")
        seen = subject
    else:
        if not isinstance(subject, Circuit):
            gates_of(subject)  # refuses what is no circuit, and names that no file can hold
        if isinstance(subject, GateStore):
            raise OptionError(
                "a page shows gates with the circuit they are of, and these came alone. Pass the circuit itself."
            )
        seen = inspect(subject, **options)
    data = {"live": False, "inspection": seen, "formulas": formulas(subject, seen, options)}
    return page(title or f"{seen.model}: provnet", data)


def formulas(subject: Any, seen: Inspection, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the formula of each node that a file can carry, by id, nearest to the target first."""
    if isinstance(subject, GateCircuit) and len(subject) <= FORMULA_GATES:
        gates = {node.id: node.index for node in seen.nodes if node.kind in ("plus", "times")}
        return _within(subject, {node: (gate, node) for node, gate in gates.items()}, seen)
    if isinstance(subject, Circuit) and len(seen.wires) <= FORMULA_GATES:
        depth = {layer.id: layer.depth for layer in seen.layers}
        ordered = sorted(seen.nodes, key=lambda node: (-depth[node.layer], node.index))
        names = {layer.id: layer.name for layer in seen.layers}
        shapes = {layer.id: layer.shape for layer in seen.layers}
        target = seen.question.target
        at = [Place(names[n.layer], shapes[n.layer]).neuron(n.index) for n in ordered]
        gates = subject.gates(
            target=parse_target(target), batch=seen.question.example, at=at, output=options.get("output")
        )
        roots = zip(ordered, gates.roots, strict=True)
        return _within(gates, {node.id: (root, node.name) for node, root in roots}, seen)
    return {}


def _within(gates: GateCircuit, wanted: dict[str, tuple[Any, str]], seen: Inspection) -> dict[str, Any]:
    found, left = {}, FORMULAS
    for node, (root, name) in wanted.items():
        one = formula(gates.store, root)
        if one.symbols > FORMULA:
            continue
        text = one.text()
        left -= len(text)
        if left < 0:
            break
        try:
            polynomial = str(gates.polynomial(root, max_terms=50))
        except LimitError:
            polynomial = None
        found[node] = {
            "id": node,
            "name": name,
            "gates": len(one.store),
            "variables": len(one.variables),
            "paths": str(one.terms),
            "formula": text,
            "latex": None,
            "polynomial": polynomial,
            "remark": "",
        }
    return found
