"""In which order gates are evaluated: jagged diagonals, one gather and one binary operation per operand position.

Gates of a level and kind are sorted by fan-in, descending: those with a p-th operand then stand in front, so step p is
a gather and one `plus` or `times` on a prefix. Gates are renumbered in the order of evaluation, so results are written
where they are needed and nothing is permuted at run time. A fan-in above 16 is split into a tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore

FAN = 16
"""Fan-in of the tree's nodes: wide enough that few partial results are stored, narrow enough for short prefixes."""


@dataclass(frozen=True, eq=False)
class Step:
    """Gates of one kind at rows start … stop. `operands[p]` are the rows of the p-th operands of the first gates."""

    kind: int
    start: int
    stop: int
    operands: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """How to evaluate a store: `rows` of values, of which the first are the leaves: zero, one, then variables.

    variables  [variable rows], which variable each row is; None: all, in their order
    roots      [roots], the row of each root
    gates      [gates], the row of each gate of the store
    """

    rows: int
    variables: Tensor | None
    steps: tuple[Step, ...]
    roots: Tensor
    gates: Tensor

    def to(self, device: torch.device) -> Plan:
        """Return the plan with its indices on `device`."""
        steps = tuple(
            Step(step.kind, step.start, step.stop, tuple(o.to(device) for o in step.operands)) for step in self.steps
        )
        variables = None if self.variables is None else self.variables.to(device)
        return Plan(self.rows, variables, steps, self.roots.to(device), self.gates.to(device))


def make_plan(store: GateStore) -> Plan:
    """Plan the evaluation of a store's gates, on the CPU. Time: a few sorts of the wires."""
    row = np.full(len(store), -1, np.int64)
    row[store.kind == ZERO], row[store.kind == ONE] = 0, 1
    leaves = np.flatnonzero(store.kind == VARIABLE)
    variable, inverse = np.unique(store.variable[leaves], return_inverse=True)
    row[leaves] = 2 + inverse
    build = _Build(rows=2 + len(variable), steps=[])
    for gates in store.by_level[1:]:
        for kind in (TIMES, PLUS):
            some = gates[store.kind[gates] == kind]
            if len(some):
                row[some] = build.add(kind, store.fan[some], row[store.wires_of(some)[1]])
    whole = len(variable) == len(store.variables)
    return Plan(
        rows=build.rows,
        variables=None if whole else torch.from_numpy(variable.astype(np.int32)),
        steps=tuple(build.steps),
        roots=torch.from_numpy(row[store.root_gates].astype(np.int32)),
        gates=torch.from_numpy(row.astype(np.int32)),
    )


@dataclass(eq=False)
class _Build:
    rows: int
    steps: list[Step]

    def add(self, kind: int, fan: NDArray[np.int64], operands: NDArray[np.int64]) -> NDArray[np.int64]:
        """Plan gates whose operands' rows are known, and give each a row."""
        while (fan > FAN).any():
            # Cut the operands of wide gates into runs of 16; each run becomes a gate of its own, and an operand.
            wide = fan > FAN
            pieces = np.where(wide, -(-fan // FAN), fan)
            owner = np.repeat(np.arange(len(fan)), pieces)
            place = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
            cut = wide[owner]
            width = np.minimum(FAN, fan[owner[cut]] - FAN * place[cut])
            inside = np.repeat(wide, fan)
            replaced = np.empty(len(owner), np.int64)
            replaced[cut] = self.emit(kind, width, operands[inside])
            replaced[~cut] = operands[~inside]
            fan, operands = pieces, replaced
        return self.emit(kind, fan, operands)

    def emit(self, kind: int, fan: NDArray[np.int64], operands: NDArray[np.int64]) -> NDArray[np.int64]:
        """Append one step for gates of a fan-in up to 16; return their rows."""
        order = np.argsort(-fan, kind="stable")
        first = (np.cumsum(fan) - fan)[order]
        sizes = np.searchsorted(-fan[order], -np.arange(int(fan.max(initial=0))), side="left")
        columns = tuple(torch.from_numpy(operands[first[:size] + p].astype(np.int32)) for p, size in enumerate(sizes))
        start, self.rows = self.rows, self.rows + len(fan)
        self.steps.append(Step(kind, start, self.rows, columns))
        rows = np.empty(len(fan), np.int64)
        rows[order] = np.arange(start, self.rows)
        return rows
