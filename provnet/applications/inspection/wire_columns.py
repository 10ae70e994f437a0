"""EdgeColumns of the network in columns, and how a page's wires are collected from them, block after block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provnet.applications.inspection.model import Wires
from provnet.applications.inspection.network import Ints, identity

Floats = NDArray[Any]


@dataclass(frozen=True, eq=False)
class EdgeColumns:
    """EdgeColumns of one block in columns, with their values in some semirings.

    output, slot, source   as the wiring counts them;  end   the layer and the neuron that they come from
    """

    block: int
    output: Ints
    slot: Ints
    source: Ints
    end_layer: Ints
    end_number: Ints
    coefficient: Floats
    element: Mapping[str, Floats]
    message: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.output)


class WireColumns:
    """Wires under construction, edges of one block after another."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.parts: list[EdgeColumns] = []
        self.source: list[Ints] = []
        self.target: list[Ints] = []
        self.variable: list[str] = []
        self._seen: dict[int, Ints] = {}

    def new(self, edges: EdgeColumns, fan: int) -> EdgeColumns:
        """Return the edges that are not there yet, and keep them."""
        keys, held = edges.output * fan + edges.slot, self._seen.get(edges.block, np.zeros(0, np.int64))
        fresh = np.flatnonzero(~np.isin(keys, held))
        self._seen[edges.block] = np.concatenate([held, keys[fresh]])
        edges = edges if len(fresh) == len(edges) else part_of(edges, fresh, self.names)
        self.parts.append(edges)
        return edges

    def wires(self) -> Wires:
        """Return the wires."""
        return Wires(
            _joined(self.source),
            _joined(self.target),
            tuple(self.variable),
            _joined([part.coefficient for part in self.parts]),
            {name: _joined([part.element[name] for part in self.parts]) for name in self.names},
            {name: _joined([part.message[name] for part in self.parts]) for name in self.names},
        )


def _joined(parts: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(value for part in parts for value in part.tolist())


def positions(order: dict[str, int], layers: Ints, numbers: Ints) -> Ints:
    """Return the position of each neuron among the nodes; new ones are appended in order of appearance."""
    span = int(numbers.max(initial=0)) + 1
    keys, first, back = np.unique(layers * span + numbers, return_index=True, return_inverse=True)
    found = np.zeros(len(keys), np.int64)
    for row in np.argsort(first).tolist():
        node = identity(int(keys[row]) // span, int(keys[row]) % span)
        found[row] = order.setdefault(node, len(order))
    return found[back]


def part_of(edges: EdgeColumns, rows: Ints, names: Iterable[str]) -> EdgeColumns:
    """Return some of the edges."""
    return EdgeColumns(
        edges.block,
        edges.output[rows],
        edges.slot[rows],
        edges.source[rows],
        edges.end_layer[rows],
        edges.end_number[rows],
        edges.coefficient[rows],
        {name: edges.element[name][rows] for name in names},
        {name: edges.message[name][rows] for name in names},
    )
