"""Which ops of an execution have a rule: a table by op and by which of its tensors are traced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from provnet.capture.execution import Execution, Ref, TracedOp, Value
from provnet.errors import ProvnetError
from provnet.rules.build import ask
from provnet.rules.in_steps import steps_of
from provnet.rules.ops.base import REGISTRY, Op, Placed
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.ranks import rank_of
from provnet.rules.regions import regions_of

REASON = 110
"""Characters of a refusal that a table shows."""


@dataclass(frozen=True)
class CoverageLine:
    """One kind of call.

    op       its name, "aten.mul".
    inputs   x for each traced tensor among its arguments and - for each constant one: "x, x" is a product of two
             traced tensors, "x, -" a scaling.
    role     what it becomes: "product", "linear", "unit edges", …; empty without a rule.
    nodes    how often it is called so.
    reason   why it has no rule; empty if it has one.
    """

    op: str
    inputs: str
    role: str
    nodes: int
    reason: str = ""


class Coverage:
    """The table. Iterate over it for its lines; `str` shows it."""

    def __init__(self, model: str, lines: tuple[CoverageLine, ...]) -> None:
        self.model, self.lines = model, lines

    def __iter__(self) -> Iterator[CoverageLine]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def nodes(self) -> int:
        """The number of calls that depend on a source."""
        return sum(line.nodes for line in self.lines)

    @property
    def covered(self) -> int:
        """The number of those that have a rule."""
        return sum(line.nodes for line in self.lines if not line.reason)

    def __str__(self) -> str:
        rows = [("op", "inputs", "nodes", "becomes")]
        rows += [(one.op, one.inputs, str(one.nodes), one.role or f"refused: {one.reason}") for one in self.lines]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        shown = [
            f"{op:<{widths[0]}}  {inputs:<{widths[1]}}  {nodes:>{widths[2]}}  {role}"
            for op, inputs, nodes, role in rows
        ]
        title = f"{self.model}: {self.covered} of {self.nodes} nodes have a rule"
        return "\n".join([title, shown[0], "-" * len(shown[0]), *shown[1:]])


def coverage_of(execution: Execution) -> Coverage:
    """Return the table of an execution's ops, in the order in which they come first.

    A refused op does not end it: what it would give is taken to hold the examples on the axis that fits.
    """
    layouts = {value: Layout(execution.batch_dim) for value in execution.sources.values()}
    ranks: dict[int, int] = {}
    found: dict[tuple[str, str, str, str], int] = {}
    regions = {op.index: region for region in regions_of(execution) for op in region.ops}
    for traced in execution.ops:
        region = regions.get(traced.index)
        if region is not None and traced is not region.ops[-1]:
            key = (traced.name, ", ".join(_marks(execution, traced)), f"a part of {region.op.name}", "")
            found[key] = found.get(key, 0) + 1
            continue
        step = traced if region is None else region.op
        op, role, reason = Op(execution, step, layouts, ranks), "", ""
        for value in op.inputs:
            layouts.setdefault(value, Layout(execution.batch_dim))
        try:
            placed = _asked(op)
        except ProvnetError as refused:
            reason = _short(str(refused))
        except Exception:  # a rule that was given a layout which is a guess may fail in any way
            if not any(why for *_, why in found):
                raise
            reason = "not known, for an op before it has no rule"
        else:
            roles = []
            for one in placed:
                layouts[one.block.output] = one.layout
                ranks[one.block.output] = rank_of(one.block, ranks)
                roles.append(one.block.role if one.block.has_coefficients else "unit edges")
            role = ", ".join(dict.fromkeys(roles)) if region is None else f"a part of {step.name}"
        key = (traced.name, ", ".join(_marks(execution, traced)), role, reason)
        found[key] = found.get(key, 0) + 1
    return Coverage(
        execution.model, tuple(CoverageLine(op, inputs, role, n, why) for (op, inputs, role, why), n in found.items())
    )


def _asked(op: Op) -> list[Placed]:
    """Return the blocks that an op becomes."""
    steps = steps_of(op) if op.name in REGISTRY else None
    if steps is None:
        return ask(op)
    made = {number: Value(number, tensor, "computed", active=True) for number, tensor in steps.made.items()}
    execution, layouts = replace(op.execution, values={**op.execution.values, **made}), dict(op.layouts)
    placed: list[Placed] = []
    for step in steps.ops:
        placed = ask(replace(op, execution=execution, traced=step, layouts=layouts))
        layouts |= {one.block.output: one.layout for one in placed}
    return placed


def _marks(execution: Execution, op: TracedOp) -> list[str]:
    """Return x for each traced tensor among an op's arguments, - for each constant one."""

    def marks(tree: Any) -> list[str]:
        if isinstance(tree, Ref):
            return ["x" if execution.active(tree) else "-"]
        if isinstance(tree, list | tuple):
            inside = [mark for part in tree for mark in marks(part)]
            return [f"[{''.join(sorted(set(inside)))}]"] if inside else []
        return []

    return [mark for part in (*op.args, *op.kwargs.values()) for mark in marks(part)]


def _short(message: str) -> str:
    """Return a refusal without its site, cut where it grows long."""
    head, _, rest = message.partition("]): ")
    text = rest or ("no rule" if message.startswith("no op rule") else head)
    text = text.partition(". ")[0].replace("\n", " ")
    return text if len(text) <= REASON else f"{text[:REASON]} …"
