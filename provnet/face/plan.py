"""Tables of a circuit's blocks: what there is, and what each block will get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.notebook import card
from provnet.rules.lrp import assignment
from provnet.rules.lrp.base import Choice, Rule
from provnet.rules.lrp.zero import Zero
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.torch_backend.walk.workspace import Workspace


@dataclass(frozen=True)
class Row:
    """One block. Shapes are of one example; `edges` those that carry variables."""

    path: str
    op: str
    module: str
    inputs: str
    output: str
    edges: int
    rule: str
    annotation: str = ""
    why: str = ""
    """What chose the rule: "rule", a composite's entry, or "default" for blocks that no rule speaks for."""
    coefficients: str = ""


class Summary:
    """A table of rows that prints itself. Iterate over it for the rows."""

    columns: tuple[str, ...] = ("path", "op", "module", "inputs", "output", "edges", "rule")

    def __init__(self, rows: tuple[Row, ...], title: str) -> None:
        self.rows, self.title = rows, title
        if "why" not in self.columns and any(row.why for row in rows):
            self.columns = (*self.columns, "why")

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        cells = [self.columns, *(tuple(_cell(getattr(row, name)) for name in self.columns) for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(self.columns))]
        lines = [
            "  ".join(
                text.rjust(width) if name == "edges" else text.ljust(width)
                for text, width, name in zip(line, widths, self.columns, strict=True)
            ).rstrip()
            for line in cells
        ]
        return "\n".join([self.title, lines[0], "-" * len(lines[0]), *lines[1:]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [[_cell(getattr(row, name)) for name in self.columns] for row in self.rows]
        return card(self.title, columns=self.columns, rows=rows)


class Plan(Summary):
    """A summary with the annotation function of each block, for one rule and semiring."""

    columns = ("path", "op", "output", "edges", "rule", "annotation", "why")


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "1"


def _rows(data: BlockCircuit, describe: dict[int, tuple[str, ...]]) -> tuple[Row, ...]:
    return tuple(
        Row(
            block.path,
            block.op,
            block.module,
            " + ".join(_shape(data.activations[i].shape) for i in block.inputs),
            _shape(data.activations[block.output].shape),
            block.wiring.edges if block.has_coefficients else 0,
            *describe[index],
        )
        for index, block in enumerate(data.blocks)
    )


def _rule_of(base: Block, block: Block, choice: Choice) -> str:
    """Return what a block in the form `block` gets, for tables; `base` is its default form."""
    if not block.has_coefficients:
        units = choice.rule.units and block.kind == "elementwise"
        return f"{choice.rule!r} on unit edges" if units else "unit edges"
    if block.annotation is not None:
        return block.annotation
    if block.kind == "selection":
        return "winner"
    if base.kind == "selection":
        return "proportional"
    without = base.bias is not None and block.bias is None
    return f"{choice.rule!r} without bias" if without else repr(choice.rule)


def _annotation_of(block: Block, choice: Choice, annotation: Annotation) -> str:
    if not block.has_coefficients and not (choice.rule.units and block.kind == "elementwise"):
        return ""
    return block.annotation or repr(annotation.at(block.path))


def summary_of(data: BlockCircuit) -> Summary:
    """Return the table of all blocks, with the rule that each takes when none is given."""
    plain = Choice(Zero())
    from_zero: dict[int, tuple[str, ...]] = {
        i: (_rule_of(block, block, plain), "", block.remark) for i, block in enumerate(data.blocks)
    }
    edges = sum(block.wiring.edges for block in data.blocks if block.has_coefficients)
    return Summary(
        _rows(data, from_zero),
        f"{data.model}: batch {data.batch}, {len(data.blocks)} blocks, {edges:,} edges an example",
    )


def plan_of(
    workspace: Workspace,
    rule: Rule,
    semiring: Semiring,
    annotation: Annotation,
    ranges: Callable[[int], tuple[float, float] | None] | None = None,
) -> Plan:
    """Return the table of what each block will get. `ranges` gives a block's least and greatest coefficient.

    Raises: `OptionError`, `UnknownNameError` where the rule cannot apply or an entry of a composite fits nothing.
    """
    described: dict[int, tuple[str, ...]] = {}
    base, data = workspace.base, workspace.circuit
    for i, (block, choice) in enumerate(zip(data.blocks, assignment(rule, base), strict=True)):
        why = choice.why if block.has_coefficients or choice.rule.units else ""
        ends = ranges(i) if ranges is not None else None
        shown = "" if ends is None else f"{ends[0]:.4g} … {ends[1]:.4g}"
        described[i] = (
            _rule_of(base.blocks[i], block, choice),
            _annotation_of(block, choice, annotation),
            "; ".join(part for part in (why, block.remark) if part),
            shown,
        )
    title = getattr(rule, "title", None) or repr(rule)
    plan = Plan(_rows(data, described), f"{data.model}: {title} in {semiring.name}")
    if ranges is not None:
        plan.columns = (*Plan.columns, "coefficients")
    return plan
