"""Write docs/supported-ops.md from the registry of op rules: `python docs/make_ops.py`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import provnet.public  # noqa: F401  # registers every rule
from provnet.applications.command_questions import one_line
from provnet.rules.ops.base import REGISTRY

PAGE = Path(__file__).with_name("supported-ops.md")

HEAD = """\
# Supported operations

Made by `docs/make_ops.py` from the registry: {ops} ATen operations in {rules} op rules. A layer is supported where the
operations that it runs are; fused ones (attention, LSTM, GRU) fall apart into these while they are recorded. An
operation that is not here is refused by name, with the way out: `register_op`, or `opaque=` for its module.
"""


def page() -> str:
    """Return the page."""
    rules: dict[Any, list[str]] = defaultdict(list)
    for name in REGISTRY.names():
        rules[REGISTRY.get(name)].append(name.removeprefix("aten."))
    rooms: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
    for rule, names in rules.items():
        rooms[rule.__module__.rpartition(".")[2]].append((one_line(rule), names))
    lines = [HEAD.format(ops=len(REGISTRY.names()), rules=len(rules))]
    for room, entries in sorted(rooms.items()):
        lines += [f"\n## {room.replace('_', ' ').capitalize()}\n", "| what it computes | operations |", "|---|---|"]
        for said, names in sorted(entries, key=lambda entry: entry[1]):
            shown = ", ".join(f"`{name}`" for name in names)
            lines.append(f"| {said.replace('|', chr(92) + '|')} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
