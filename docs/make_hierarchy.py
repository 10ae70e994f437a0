"""Writes docs/hierarchy.dot and docs/hierarchy.svg: which provenance forgets what, and where each semiring hangs.

Solid arrows are the registered homomorphisms between symbolic carriers. A dashed arrow leads to the numeric semirings
whose values a carrier decides: from the most forgetful carrier that still does, by the flags that the classes state.
A test fails if the files are out of date; the SVG names the DOT text that it was drawn from.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import graphviz

from provnet.semirings import Semiring, get, names
from provnet.symbolic import carriers
from provnet.symbolic.carriers.base import REGISTRY as CARRIERS
from provnet.symbolic.carriers.base import Carrier
from provnet.symbolic.carriers.quotients import QUOTIENTS

FOLDER = Path(__file__).resolve().parent
DOT, SVG = FOLDER / "hierarchy.dot", FOLDER / "hierarchy.svg"

LABELS = {
    "n[x]": "ℕ[X]\nhow: every path",
    "b[x]": "𝔹[X]\npaths, uncounted",
    "trio": "Trio\nedge sets, counted",
    "why": "Why\nedge sets",
    "sorp": "Sorp\nshortest paths",
    "posbool": "PosBool\nsmallest edge sets",
    "lin": "Lin\nedges that matter",
    "boolean": "𝔹\nis there a path?",
}
FORGETS = {
    ("n[x]", "b[x]"): "coefficients",
    ("n[x]", "trio"): "exponents",
    ("b[x]", "why"): "exponents",
    ("trio", "why"): "coefficients",
    ("why", "posbool"): "larger sets",
    ("why", "lin"): "which path",
    ("b[x]", "sorp"): "longer paths",
    ("sorp", "posbool"): "exponents",
    ("posbool", "boolean"): "which edges",
    ("lin", "boolean"): "which edges",
}


def decided_by() -> dict[str, list[str]]:
    """Return carrier -> the numeric semirings that hang below it: every valuation's value is decided there already.

    Of the carriers whose conditions a semiring's flags meet, the one that asks most is the one that has forgotten most.
    """
    assert carriers.__doc__  # importing the package is what registers them
    found: dict[str, list[str]] = {}
    for name in names():
        semiring = get(name)
        fitting = [carrier for carrier in unconditional() if fits(carrier, semiring)]
        last = max(fitting, key=lambda carrier: len(reaches(carrier.name)[1]))
        found.setdefault(last.name, []).append(name)
    return found


def unconditional() -> list[Carrier[Any]]:
    """Return the carriers that decide values by the semiring's laws alone, whatever the valuation."""
    all_names = dict.fromkeys(CARRIERS.get(name).name for name in CARRIERS.names())
    drawn = {
        name for pair in QUOTIENTS for name in pair
    }  # formula and boolexpr are n[x] and posbool, not multiplied out
    fitting = [CARRIERS.get(name) for name in all_names if name in drawn and name != "lin"]
    return [carrier for carrier in fitting if "squares" not in carrier.valid_for]


def fits(carrier: Carrier[Any], semiring: Semiring) -> bool:
    """Return whether the semiring's flags are those that the carrier asks for."""
    return semiring.commutative and all(getattr(semiring, flag) for flag in carrier.valid_for)


def reaches(name: str) -> tuple[set[str], set[str]]:
    """Return what a carrier can be mapped to, and what can be mapped to it, itself included both times."""
    below, above = {name}, {name}
    for _ in QUOTIENTS:
        below |= {target for source, target in QUOTIENTS if source in below}
        above |= {source for source, target in QUOTIENTS if target in above}
    return below, above


def drawing() -> graphviz.Digraph:
    """Return the hierarchy, the most informative carrier on top."""
    graph = graphviz.Digraph("hierarchy", comment="Made by docs/make_hierarchy.py from the registered classes")
    graph.attr(rankdir="TB", nodesep="0.4", ranksep="0.55", fontname="Helvetica", bgcolor="white")
    graph.attr("node", shape="box", style="rounded,filled", fillcolor="#eef3fb", color="#4a6fa5", fontname="Helvetica")
    graph.attr("edge", fontname="Helvetica", fontsize="10", color="#4a6fa5")
    for name in dict.fromkeys(name for pair in QUOTIENTS for name in pair):
        graph.node(name, LABELS.get(name, name))
    for pair in QUOTIENTS:
        graph.edge(*pair, label=f" {FORGETS.get(pair, '')}")
    for name, semirings in sorted(decided_by().items()):
        lines = [", ".join(semirings[start : start + 3]) for start in range(0, len(semirings), 3)]
        graph.node(f"{name} decides", "\n".join(lines), shape="plaintext", style="", fontsize="11")
        graph.edge(name, f"{name} decides", style="dashed", color="#999999", arrowhead="open")
    return graph


def stamp(dot: str) -> str:
    """Return the comment by which a drawing names the DOT text it was made from."""
    return f"<!-- drawn from hierarchy.dot, sha256 {hashlib.sha256(dot.encode()).hexdigest()} -->"


if __name__ == "__main__":
    graph = drawing()
    DOT.write_text(graph.source, "utf-8")
    svg = graph.pipe("svg", encoding="utf-8")
    SVG.write_text(f"{svg.rstrip()}\n{stamp(graph.source)}\n", "utf-8")
    print(f"{DOT.name}, {SVG.name}: {len(QUOTIENTS)} homomorphisms, {len(names())} numeric semirings")
