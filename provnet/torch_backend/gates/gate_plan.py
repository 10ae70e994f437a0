"""In which order gates are evaluated: level by level, gates of one kind and one fan-in together.

Gates of a level and kind are sorted by fan-in, descending, and renumbered in that order, so results are written where
they are needed and nothing is permuted at run time. A fan-in above 16 is split into a tree. Rows that are read no more
are used again (`gate_rows`). Compiled code walks the gates run by run (`wires`). Torch takes them as jagged diagonals
(`steps`): gates with a p-th operand stand in front, so step p is a gather and one `plus` or `times` on a prefix. Both
fold a gate's operands in one order, from the first on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore, ragged
from provnet.errors import CircuitError
from provnet.torch_backend.gates.row_allocation import reuse

FAN = 16
"""Fan-in of the tree's nodes: wide enough that few partial results are stored, narrow enough for short prefixes."""


@dataclass(frozen=True, eq=False)
class GateStep:
    """Gates of one kind at rows start … stop. `operands[p]` are the rows of the p-th operands of the first gates."""

    kind: int
    start: int
    stop: int
    operands: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class GatePlan:
    """How to evaluate a store: `rows` of values, of which the first are the leaves: zero, one, then variables.

    variables  [variable rows], which variable each row is; None: all, in their order
    runs       [runs, 4], int64, always on the CPU: gates of one kind and fan-in, as (kind, first row, gates, fan-in)
    stages     how many runs each step has: gates of a step do not feed each other
    wires      [wires], int32: the operands' rows, gate by gate, in the order of evaluation
    wanted     [gates that were asked for], the row of each
    """

    rows: int
    variables: Tensor | None
    runs: Tensor
    stages: tuple[int, ...]
    wires: Tensor
    wanted: Tensor

    @cached_property
    def steps(self) -> tuple[GateStep, ...]:
        """The jagged diagonals, made when first asked for."""
        found, at, runs = [], 0, iter(self.runs.tolist())
        for count in self.stages:
            stage = [next(runs) for _ in range(count)]
            tables = []
            for _, _, gates, fan in stage:
                tables.append(self.wires[at : at + gates * fan].view(gates, fan))
                at += gates * fan
            columns = (torch.cat([table[:, p] for table in tables if table.shape[1] > p]) for p in range(stage[0][3]))
            kind, start, _, _ = stage[0]
            found.append(GateStep(kind, start, stage[-1][1] + stage[-1][2], tuple(columns)))
        return tuple(found)

    def to(self, device: torch.device) -> GatePlan:
        """Return the plan with its indices on `device`."""
        variables = None if self.variables is None else self.variables.to(device)
        return GatePlan(self.rows, variables, self.runs, self.stages, self.wires.to(device), self.wanted.to(device))


def make_plan(store: GateStore, wanted: NDArray[np.integer]) -> GatePlan:
    """Plan the evaluation of some of a store's gates, on the CPU. Time: a few sorts of the wires.

    Raises: `CircuitError` if a gate has an operand that is not below it, or none at all.
    """
    row = np.full(len(store), -1, np.int64)
    row[store.kind == ZERO], row[store.kind == ONE] = 0, 1
    leaves = np.flatnonzero(store.kind == VARIABLE)
    variable, inverse = np.unique(store.variable[leaves], return_inverse=True)
    row[leaves] = 2 + inverse
    build = _PlanBuild(2 + len(variable))
    for gates in store.by_level[1:]:
        for kind in (TIMES, PLUS):
            some = gates[store.kind[gates] == kind]
            if len(some):
                row[some] = build.add(kind, store.fan[some], row[store.below(some)])
    if (row < 0).any():  # compiled code would read whatever lies before the values
        raise CircuitError(f"gate {int(np.argmin(row))} is no leaf and has no operands: check the gates before use.")
    place, rows = reuse([2, len(variable), *build.sizes], build.wires, row[wanted])
    runs = np.array(build.runs, np.int64).reshape(-1, 4)
    runs[:, 1] = place[runs[:, 1]]
    whole = len(variable) == len(store.variables)
    return GatePlan(
        rows=rows,
        variables=None if whole else torch.from_numpy(variable.astype(np.int32)),
        runs=torch.from_numpy(runs),  # torch.tensor would put them on the default device
        stages=tuple(build.stages),
        wires=torch.from_numpy(place[np.concatenate([np.empty(0, np.int32), *build.wires])]),
        wanted=torch.from_numpy(place[row[wanted]]),
    )


class _PlanBuild:
    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.runs: list[tuple[int, int, int, int]] = []
        self.stages: list[int] = []
        self.sizes: list[int] = []
        self.wires: list[NDArray[np.int32]] = []

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
        """Append a step's gates, of fan-in 1 to 16; return their rows."""
        if int(operands.min()) < 0:  # not yet placed
            raise CircuitError("a gate has an operand that comes after it or is none: check the gates before use.")
        order = np.argsort((FAN - fan).astype(np.uint16), kind="stable")  # 16 bits: a radix sort
        sorted_fan = fan[order]
        self.wires.append(operands[ragged((np.cumsum(fan) - fan)[order], sorted_fan)].astype(np.int32))
        rows = np.empty(len(fan), np.int64)
        rows[order] = np.arange(self.rows, self.rows + len(fan))
        counts = np.bincount(fan, minlength=FAN + 1).tolist()
        present = [f for f in range(FAN, 0, -1) if counts[f]]
        for each in present:
            self.runs.append((kind, self.rows, counts[each], each))
            self.rows += counts[each]
        self.stages.append(len(present))
        self.sizes.append(len(fan))
        return rows
