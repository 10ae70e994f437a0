"""Write docs/supported-ops.md from the registry of op rules: `python docs/make_ops.py`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import provnet.public  # noqa: F401  # registers every rule
from provnet.applications.command_questions import one_line
from provnet.capture.decompose import DECOMPOSED
from provnet.capture.decompose.complex_numbers import MAKERS, VIEWS
from provnet.capture.decompose.complex_numbers import PAIRS as OF_PAIRS
from provnet.rules.ops.base import REGISTRY

PAGE = Path(__file__).with_name("supported-ops.md")

HEAD = """\
# Supported operations

Made by `docs/make_ops.py` from the registry: {ops} ATen operations in {rules} op rules. A layer is supported where the
operations that it runs are. {apart} more fall apart into these while they are recorded, fused ones (attention, LSTM,
GRU) among them, and complex numbers are recorded as pairs of real ones. An operation that is not here is refused by
name, with the way out: `register_op`, or `opaque=` for its module.
"""

APART = """
## Taken apart

These become others before a rule is asked: the first column says which. Where one of several tensors alone is traced,
those that also have a rule keep it: a convolution with a constant kernel is one.

| what it is | operations |
|---|---|"""

PAIRS = """
## Complex numbers

These are done to the real and the imaginary part of traced complex tensors. A Fourier transform is a linear map of the
pairs, one axis after the other; a module's complex output goes by its name, with an axis of two behind the others.
Outputs have to be real: return `torch.view_as_real(z)`, `z.real` or `z.abs()`.
"""


def page() -> str:
    """Return the page."""
    rules: dict[Any, list[str]] = defaultdict(list)
    for name in REGISTRY.names():
        rules[REGISTRY.get(name)].append(name.removeprefix("aten."))
    rooms: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for rule, names in rules.items():
        rooms[rule.__module__.rpartition(".")[2]].append((one_line(rule), names))
    parts: dict[Any, set[str]] = defaultdict(set)
    for func, function in DECOMPOSED.items():
        parts[function].add(_packet(func))
    apart = set().union(*parts.values())
    lines = [HEAD.format(ops=len(REGISTRY.names()), rules=len(rules), apart=len(apart - set().union(*rules.values())))]
    for room, entries in sorted(rooms.items()):
        lines += [f"\n## {room.replace('_', ' ').capitalize()}\n", "| what it computes | operations |", "|---|---|"]
        for said, names in sorted(entries, key=lambda entry: entry[1]):
            shown = ", ".join(f"`{name}`" for name in names)
            lines.append(f"| {said.replace('|', chr(92) + '|')} | {shown} |")
    lines.append(APART)
    for function, names in sorted(parts.items(), key=lambda item: sorted(item[1])):
        shown = ", ".join(f"`{name}`" for name in sorted(names))
        lines.append(f"| {one_line(function).replace('|', chr(92) + '|')} | {shown} |")
    lines += [PAIRS, ", ".join(f"`{name}`" for name in sorted(set(map(_packet, {*OF_PAIRS, *MAKERS, *VIEWS}))))]
    return "\n".join(lines) + "\n"


def _packet(func: Any) -> str:
    """Return an op's name without its overload and its library."""
    return func._schema.name.removeprefix("aten::")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
