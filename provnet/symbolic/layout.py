"""Lays out gates as definitions in text: a gate that is used more than once is written once and then called by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from provnet.circuit.gates import PLUS, TIMES, VARIABLE, ZERO, GateStore, Variable
from provnet.errors import LimitError
from provnet.symbolic.canonical import uses

LIMIT = 10_000
"""How many symbols are printed unless a caller asks for more."""


@dataclass(frozen=True)
class Style:
    """How one notation writes operators, brackets, variables, and the names of shared gates."""

    plus: str
    times: str
    name: Callable[[Variable], str]
    shared: Callable[[str], str]
    brackets: tuple[str, str] = ("(", ")")
    zero: str = "0"
    one: str = "1"


@dataclass(frozen=True)
class Definition:
    """`name` stands for `parts` joined by `operator`; there is one part where the operator is empty."""

    name: str
    operator: str
    parts: tuple[str, ...]


def shared_gates(store: GateStore) -> list[int]:
    """Return the sums and products that are used more than once, roots counted, in topological order."""
    used = uses(store)
    for gate in store.root_gates.tolist():
        used[gate] += 1
    return [g for g, kind in enumerate(store.kind.tolist()) if kind in (PLUS, TIMES) and used[g] > 1]


def shared_names(store: GateStore, shown: Iterable[str] = ()) -> dict[int, str]:
    """Return a name for each shared gate: r1, r2, …, or with another letter where variables are shown so.

    shown   what variables are written as, beside their own names.
    """
    names = {variable.name for variable in store.variables}.union(shown)
    taken = {match.group(1) for name in names if (match := re.fullmatch(r"([a-z]+)\d+", name))}
    letter = next(letter for letter in _letters() if letter not in taken)
    return {gate: f"{letter}{k}" for k, gate in enumerate(shared_gates(store), start=1)}


def _letters() -> Iterable[str]:
    size = 1
    while True:
        yield from (letter * size for letter in "rstuvg")
        size += 1


def symbols(store: GateStore) -> int:
    """Return how many variables, constants and names a layout prints: known before anything is printed."""
    shared, inner = len(shared_gates(store)), int((store.kind >= PLUS).sum())
    # Each wire and root prints a symbol, unless the one gate that it is the only use of is printed in its place.
    return store.wires + len(store.roots) - (inner - shared) + shared


def lay_out(store: GateStore, style: Style, limit: int = LIMIT) -> tuple[list[Definition], list[Definition]]:
    """Return the definitions of the shared gates, in an order in which each uses earlier ones only, and of the roots.

    The store must be a cone (see `cone`), so that no gate is left unprinted.
    Raises `LimitError` with the exact number of symbols, before anything is made, where it is above `limit`.
    """
    if (size := symbols(store)) > limit:
        raise LimitError(
            f"the formula has {size:,} symbols in {len(store):,} gates, more than limit={limit:,}. "
            f"Ask for a neuron nearer to the target, for a smaller cone, or for limit={size}."
        )
    written = [style.name(variable) for variable in store.variables]
    names = shared_names(store, written)
    kinds = store.kind.tolist()
    text: list[str | None] = []  # what an operand of this gate shows; a string used once is dropped after use
    definitions: dict[int, Definition] = {}
    for gate, kind in enumerate(kinds):
        if kind not in (PLUS, TIMES):
            leaf = style.zero if kind == ZERO else style.one
            text.append(written[store.variable[gate]] if kind == VARIABLE else leaf)
            continue
        below = store.operands_of(gate).tolist()
        parts = tuple(_operand(text, kinds, names, g, kind, style) for g in below)
        operator = style.plus if kind == PLUS else style.times
        definitions[gate] = Definition(names.get(gate, ""), operator, parts)
        text.append(style.shared(names[gate]) if gate in names else f" {operator} ".join(parts))
    lets = [definitions[gate] for gate in names]
    roots = []
    for neuron, gate in zip(store.roots, store.root_gates.tolist(), strict=True):
        inline = gate in definitions and gate not in names
        shown = definitions[gate] if inline else Definition("", "", (str(text[gate]),))
        roots.append(Definition(str(neuron), shown.operator, shown.parts))
    return lets, roots


def _operand(
    text: list[str | None], kinds: list[int], names: dict[int, str], gate: int, above: int, style: Style
) -> str:
    """Return an operand's text, in brackets unless it is a leaf, a name, or a product in a sum."""
    shown = str(text[gate])
    if kinds[gate] not in (PLUS, TIMES) or gate in names or (above == PLUS and kinds[gate] == TIMES):
        return shown
    text[gate] = None
    return f"{style.brackets[0]}{shown}{style.brackets[1]}"


def wrap(head: str, definition: Definition, width: int, sizes: Callable[[str], int] = len) -> list[list[str]]:
    """Return a definition's parts in lines of about `width` columns; each but the first begins with the operator."""
    lines: list[list[str]] = [[]]
    used = len(head)
    for k, part in enumerate(definition.parts):
        piece = part if k == 0 else f"{definition.operator} {part}"
        if lines[-1] and used + 1 + sizes(part) + 2 > width:
            lines.append([])
            used = len(head)
        lines[-1].append(piece)
        used += sizes(part) + 3
    return lines
