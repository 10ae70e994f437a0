"""The network as a page shows it: neurons joined by edges, unit edges (activations, views) followed through.

A layer is a source, or the output of a block that has coefficients. Every other tensor holds the same
relevance element by element, so that its neurons go by those of the layer below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.circuit.gates import Neuron
from provnet.circuit.variables import EdgeSegment, Place
from provnet.errors import UnsupportedOperationError

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ends:
    """Where neurons end up when unit edges are followed down: layer and number of each, -1 where none is.

    `trail` names the unit edges passed: (row, block, output) columns, for rules that value them.
    """

    layer: Ints
    number: Ints
    trail: tuple[tuple[Ints, int, Ints], ...]


class Network:
    """Layers, and the edges in and out of single neurons, of a circuit of blocks."""

    def __init__(self, data: BlockCircuit) -> None:
        if any(block.wiring.by_example for block in data.blocks):
            raise UnsupportedOperationError(
                "the examples of this circuit are wired differently (masks, lengths or indices of their own), and a "
                "page shows one network for all. Trace one example by itself, and inspect that circuit."
            )
        self.data = data
        self.maker = {block.output: number for number, block in enumerate(data.blocks)}
        self.readers: dict[int, list[tuple[int, int]]] = {}
        for number, block in enumerate(data.blocks):
            for place, activation in enumerate(block.inputs):
                self.readers.setdefault(activation, []).append((number, self.offset(block, place)))
        made = [block.output for block in data.blocks if block.has_coefficients]
        self.layers: tuple[int, ...] = (*data.sources, *made)
        self.depth = self._depths()
        self._inverse: dict[int, tuple[Ints, Ints]] = {}

    def offset(self, block: Block, place: int) -> int:
        """Return where input `place` begins among the block's concatenated inputs."""
        return sum(self.data.activations[i].size for i in block.inputs[:place])

    def _depths(self) -> dict[int, int]:
        depth = dict.fromkeys(self.data.sources, 0)
        for block in self.data.blocks:
            below = max((depth.get(i, 0) for i in block.inputs), default=0)
            depth[block.output] = below + block.has_coefficients
        return depth

    def name(self, layer: int, number: int) -> Neuron:
        """Return the neuron with a row-major number in a tensor."""
        return self.place(layer).neuron(number)

    def place(self, layer: int) -> Place:
        """Return the tensor as names of variables need it."""
        held = self.data.activations[layer]
        return Place(held.name, held.shape)

    # -- down, to the inputs of the network ----------------------------------------------------------

    def ends(self, activation: int, numbers: Ints) -> Ends:
        """Follow unit edges down from neurons of a tensor to the layers that hold the same relevance."""
        layer, number = np.full(len(numbers), activation), numbers.copy()
        trail: list[tuple[Ints, int, Ints]] = []
        while True:
            moving = np.array([self._passes(int(a)) for a in np.unique(layer)])
            away = np.unique(layer)[moving] if len(moving) else []
            if not len(away):
                return Ends(layer, number, tuple(trail))
            for a in away:
                rows = np.flatnonzero((layer == a) & (number >= 0))
                made = self.maker[int(a)]
                trail.append((rows, made, number[rows]))
                found = self._only_source(made, number[rows])
                layer[layer == a] = -1
                self._set(self.data.blocks[made], rows, found, layer, number)

    def _only_source(self, block: int, outputs: Ints) -> Ints:
        """Return the one input that each neuron of a block of unit edges is handed on from, -1 where none is.

        A concatenation has a slot for each of its operands, of which one is present.
        """
        found, present = self.slots(block, outputs)
        if (present.sum(1) > 1).any():
            raise UnsupportedOperationError(
                f"block {self.data.blocks[block].path!r} joins several neurons by unit edges, which a page cannot "
                "follow. Take gates(units=True), which draws them."
            )
        return np.where(present, found, -1).max(1, initial=-1)

    def _passes(self, activation: int) -> bool:
        """Whether the tensor is made by a block of unit edges."""
        number = self.maker.get(activation)
        return number is not None and not self.data.blocks[number].has_coefficients

    def _set(self, block: Block, rows: Ints, found: Ints, layer: Ints, number: Ints) -> None:
        """Write which input each row lands on, and where in it."""
        for place, activation in enumerate(block.inputs):
            start = self.offset(block, place)
            inside = (found >= start) & (found < start + self.data.activations[activation].size)
            layer[rows[inside]], number[rows[inside]] = activation, found[inside] - start
        number[rows[found < 0]] = -1

    def landing(self, block: int, found: Ints) -> Ends:
        """Return where the sources of a block's slots end up; `found` counts its concatenated inputs."""
        layer, number = np.full(len(found), -1), np.full(len(found), -1)
        self._set(self.data.blocks[block], np.arange(len(found)), found, layer, number)
        result = Ends(layer.copy(), number.copy(), ())
        trail: list[tuple[Ints, int, Ints]] = []
        for activation in np.unique(layer[layer >= 0]):
            rows = np.flatnonzero(layer == activation)
            part = self.ends(int(activation), number[rows])
            result.layer[rows], result.number[rows] = part.layer, part.number
            trail += [(rows[at], number, outputs) for at, number, outputs in part.trail]
        return Ends(result.layer, result.number, tuple(trail))

    # -- up, to the target ---------------------------------------------------------------------------

    def consumers(self, layer: int, number: int) -> list[tuple[int, Ints, Ints]]:
        """Return the edges that leave a neuron, as (block, outputs, slots), through unit edges."""
        found: list[tuple[int, Ints, Ints]] = []
        waiting: list[tuple[int, Ints]] = [(layer, np.array([number]))]
        while waiting:
            activation, numbers = waiting.pop()
            for block, offset in self.readers.get(activation, ()):
                outputs, slots = self._fed(block, numbers + offset)
                if not len(outputs):
                    continue
                if self.data.blocks[block].has_coefficients:
                    found.append((block, outputs, slots))
                else:
                    waiting.append((self.data.blocks[block].output, np.unique(outputs)))
        return sorted(found, key=lambda edge: edge[0])

    def _fed(self, block: int, inputs: Ints) -> tuple[Ints, Ints]:
        """Return (outputs, slots) that some inputs of a block feed. Channels of one position share their sources."""
        wiring = self.data.blocks[block].wiring
        position, slot = self._positions(block, inputs)
        channel = np.arange(wiring.channels)
        outputs = np.asarray(wiring.output(position[:, None], channel))
        outputs = np.broadcast_to(outputs, (len(position), wiring.channels))
        return outputs.reshape(-1), np.repeat(slot, wiring.channels)

    def _positions(self, block: int, inputs: Ints) -> tuple[Ints, Ints]:
        wiring = self.data.blocks[block].wiring
        step = max(TILE // max(wiring.fan, 1), 1)
        rows, slots = [], []
        for start in range(0, wiring.positions, step):
            some = np.arange(start, min(start + step, wiring.positions))
            found, present = self.slots(block, np.asarray(wiring.output(some, 0)))
            hit = np.isin(found, inputs) & present
            row, slot = np.nonzero(hit)
            rows.append(some[row])
            slots.append(slot)
        none = np.zeros(0, np.int64)
        return (np.concatenate(rows), np.concatenate(slots)) if rows else (none, none)

    def slots(self, block: int, outputs: Ints) -> tuple[Ints, Any]:
        """Return (source among the concatenated inputs, present), each [outputs, slots], the bias apart."""
        wiring = self.data.blocks[block].wiring
        found, present, _ = wiring.source(outputs[:, None], np.arange(wiring.fan)[None, :])
        shape = (len(outputs), wiring.fan)
        return np.broadcast_to(found, shape), np.broadcast_to(np.asarray(present), shape)

    def segment(self, block: int, outputs: Ints, slots: Ints, sources: Ints) -> EdgeSegment:
        """Return edges of a block as variables, which names them as formulas do."""
        held = self.data.blocks[block]
        places = tuple(self.place(i) for i in held.inputs)
        return EdgeSegment(block, held.path, self.place(held.output), places, held.wiring.fan, outputs, slots, sources)

    def plain(self, block: int) -> bool:
        """Return whether every slot of a block is an edge: nothing in the padding, no losers of a pooling."""
        one = self.data.blocks[block]
        full = one.wiring.edges == one.wiring.outputs * one.wiring.fan
        return full and one.kind != "selection" and all(self.data.activations[i].padding is None for i in one.reads)

    def fan_in(self, layer: int) -> int:
        """Return how many slots each neuron of a layer has, the bias apart: 0 for a source."""
        number = self.maker.get(layer)
        return 0 if number is None else self.data.blocks[number].wiring.fan


TILE = 1 << 21
"""EdgeColumns looked at together: sixteen megabytes of indices."""


def identity(layer: int, number: int) -> str:
    """Return the id of a neuron: "layer.number"."""
    return f"{layer}.{number}"


def unravelled(number: int, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the index of a row-major number."""
    return tuple(int(i) for i in np.unravel_index(number, shape)) if prod(shape) and shape else ()
