"""The small size of a circuit: every gate explicit, in columns. networkx is a view of this (`circuit/graph.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

ZERO, ONE, VARIABLE, PLUS, TIMES = range(5)
KINDS = ("zero", "one", "variable", "plus", "times")


@dataclass(frozen=True)
class Neuron:
    """One element of a recorded tensor: its path, and its index without the example's axis. Printed as `path[0, 4]`."""

    path: str
    index: tuple[int, ...]

    @cached_property
    def numbers(self) -> str:
        """The index as names of variables have it: "0,4"."""
        return ",".join(map(str, self.index))

    def __str__(self) -> str:
        return f"{self.path}[{', '.join(map(str, self.index))}]" if self.index else self.path


def spelled(name: str) -> str:
    """Return a neuron's name with its indices spelled as `str(neuron)` does: "fc[0,1]" becomes "fc[0, 1]"."""
    path, bracket, rest = name.rpartition("[")
    parts = [part.strip() for part in rest.removesuffix("]").split(",")]
    if not bracket or not rest.endswith("]") or not all(part.isdecimal() for part in parts):
        return name
    return f"{path.rstrip()}[{', '.join(parts)}]"


@dataclass(frozen=True)
class Variable:
    """One variable of a circuit. On grain `edge` it is the edge source -> target of the block `path`.

    name     unique in the circuit, as formulas print it: "fc1[2<-0]", "fc1[2<-bias]", "w fc1[7]"
    """

    name: str
    path: str = ""
    source: Neuron | None = None  # None: the bias, or a coarser grain
    target: Neuron | None = None
    key: Any = None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class GateStore:
    """A DAG of gates in topological order: each operand's number is smaller than its gate's.

    kind      [gates], one of ZERO, ONE, VARIABLE, PLUS, TIMES
    first     [gates + 1]; the operands of gate g are operands[first[g]:first[g + 1]], repetitions kept (x times x)
    operands  [wires]
    variable  [gates], which of `variables` a VARIABLE gate is, -1 for the others
    roots     the neurons whose relevance the circuit gives, row-major, zeros included; `root_gates` their gates
    assumption  what a semiring must satisfy for the circuit to stand for the one it was simplified from, as the set of
              the flags' names ("idempotent", "absorptive", …); empty for an unsimplified one
    """

    kind: NDArray[np.uint8]
    first: NDArray[np.int64]
    operands: NDArray[np.int32]
    variable: NDArray[np.int32]
    variables: Sequence[Variable]
    roots: tuple[Neuron, ...]
    root_gates: NDArray[np.int32]
    assumption: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def wires(self) -> int:
        return len(self.operands)

    def operands_of(self, gate: int) -> NDArray[np.int32]:
        """Return the operands of one gate, in order."""
        return self.operands[self.first[gate] : self.first[gate + 1]]

    @cached_property
    def fan(self) -> NDArray[np.int64]:
        """The number of operands of each gate."""
        return np.diff(self.first)

    @cached_property
    def level(self) -> NDArray[np.int32]:
        """The level of each gate: 0 for leaves, else one more than its highest operand's."""
        return levels(self.first, self.operands)

    @cached_property
    def by_level(self) -> tuple[NDArray[np.int64], ...]:
        """The gates of each level, ascending."""
        if len(self) == 0:
            return ()
        count = np.bincount(self.level)
        # numpy sorts 16-bit integers by radix, four times faster than longer ones.
        level = self.level.astype(np.uint16) if len(count) < 1 << 16 else self.level
        return tuple(np.split(np.argsort(level, kind="stable"), np.cumsum(count)[:-1]))

    def wires_of(self, gates: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return (row of `gates`, operand) of every wire that leads into one of `gates`, gate by gate, in order."""
        return np.repeat(np.arange(len(gates)), self.fan[gates]), self.below(gates)

    def below(self, gates: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the operands of some gates, gate by gate, in order."""
        if len(gates) and int(gates[-1]) - int(gates[0]) + 1 == len(gates) and (np.diff(gates) == 1).all():
            return self.operands[self.first[gates[0]] : self.first[gates[-1] + 1]]
        return self.operands[ragged(self.first[gates], self.fan[gates])]


def ragged(start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return start[0], start[0] + 1, … (length[0] of them), then those of start[1], and so on."""
    ends = np.cumsum(length)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(start - (ends - length), length)


def levels(first: NDArray[np.int64], operands: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the level of each gate of a DAG in topological order, [gates].

    A run of gates none of which feeds another is done at once. Circuits come in a few long runs, so the time is linear.
    """
    fan = np.diff(first)
    gates, level = len(fan), np.zeros(len(fan), np.int32)
    highest = np.full(gates, -1, np.int64)
    inner = np.flatnonzero(fan)
    if len(inner) == 0:
        return level
    highest[inner] = np.maximum.reduceat(operands, first[inner])
    start = int(inner[0])
    while start < gates:
        stop, width = start + 1, 64
        while stop < gates:  # look for the first gate fed from inside the run, in windows that grow
            inside = np.flatnonzero(highest[stop : stop + width] >= start)
            stop = stop + int(inside[0]) if len(inside) else min(stop + width, gates)
            if len(inside):
                break
            width *= 2
        some = start + np.flatnonzero(fan[start:stop])
        if len(some):
            low, high = int(first[some[0]]), int(first[stop])
            level[some] = 1 + np.maximum.reduceat(level[operands[low:high]], first[some] - low)
        start = stop
    return level
