"""The wiring that is listed: which inputs feed each output, where no formula says it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from provnet.circuit.wiring import Index, Wiring


@dataclass(frozen=True, eq=False)
class Table(Wiring):
    """Output k of a row is fed by the inputs index[k] of the same row: interpolations, sums of listed entries.

    index  [outputs / rows, fan] int64; -1: no edge. Every row of inputs / rows neurons has the same table, and the same
           weights, which lie as `index` does.
    """

    rows: int = 1
    index: Any = None

    @property
    def edges(self) -> int:
        return self.rows * int((self.index > -1).sum())

    @cached_property
    def _copies(self) -> dict[Any, Any]:
        return {}

    def on(self, like: Index) -> Any:
        """Return the flat index as what `like` can look up in: numpy's, or a tensor on the same device, kept."""
        if not hasattr(like, "new_tensor"):
            return np.asarray(self.index).reshape(-1)
        if like.device not in self._copies:
            self._copies[like.device] = like.new_tensor(self.index).reshape(-1)
        return self._copies[like.device]

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        width = self.outputs // self.rows
        weight = output % width * self.fan + slot
        found = self.on(weight)[weight]
        present = found > -1
        return (output // width * (self.inputs // self.rows) + found) * present, present, weight


def table(index: np.ndarray, inputs: int, rows: int = 1) -> Table:
    """Return the wiring in which each of `rows` rows of inputs feeds a row of outputs as `index` [outputs, fan] says.

    inputs  how many neurons one row has
    """
    width, fan = index.shape
    return Table(rows * inputs, rows * width, fan=fan, rows=rows, index=np.ascontiguousarray(index, np.int64))


def listed(outputs: np.ndarray, inputs: np.ndarray, width: int) -> np.ndarray:
    """Return the index [width, fan] of edges that are given one by one: input inputs[n] feeds output outputs[n].

    The edges of an output keep their order.
    """
    order = np.argsort(outputs, kind="stable")
    counts = np.bincount(outputs, minlength=width)
    index = np.full((width, max(int(counts.max(initial=0)), 1)), -1, np.int64)
    firsts = np.cumsum(counts) - counts
    slots = np.arange(len(outputs)) - firsts[outputs[order]]
    index[outputs[order], slots] = inputs[order]
    return index
