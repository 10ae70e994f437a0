"""Which neurons lie between the roots and the target, and how many gates that makes: before a single gate is made.

Both are counted position by position (the channels of a convolution share their sources), so that VGG-16's 15.5e9 edges
cost the arithmetic of 75e6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.blocks import Block, BlockCircuit

Mask = NDArray[np.bool_]
Chosen = Callable[[int, NDArray[np.int64]], Mask | None]
"""(block number, outputs) -> which slots are present, [outputs, slots]; None: all that the wiring knows. Asked of
blocks with coefficients. The channels of one position share their sources, and so must share what is present."""

TILE = 1 << 20
"""Edges looked at together: eight megabytes of indices."""


@dataclass(frozen=True, eq=False)
class Cone:
    """The neurons on some path from a root to a target.

    inside     activation -> [size], which neurons lie on a path
    wanted   the blocks to be walked: those that are reached and that some root feeds
    edges    block -> number of its edges within the cone that are variables or could be, the bias's among them
    neurons  how many neurons have a ⊕ of their own: all but those whose relevance is one unit edge's
    """

    inside: Mapping[int, Mask]
    wanted: tuple[int, ...]
    edges: Mapping[int, int]
    neurons: int


@dataclass(eq=False)
class _ConeWalk:
    circuit: BlockCircuit
    chosen: Chosen | None
    units: bool
    tagged: Mapping[int, Mask] | None
    reached: dict[int, Mask] = field(default_factory=dict)
    needed: dict[int, Mask] = field(default_factory=dict)
    terms: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    def mask(self, masks: dict[int, Mask], activation: int) -> Mask:
        """Return the activation's mask, made of False on its first use."""
        if activation not in masks:
            masks[activation] = np.zeros(self.circuit.activations[activation].size, bool)
        return masks[activation]

    def tiles(self, number: int, inside: Mask) -> Iterator[tuple[Any, NDArray[np.int64], Any, NDArray[np.int64]]]:
        """Yield (positions, sources [positions, slots], present, number of channels inside, by position) of a block."""
        block = self.circuit.blocks[number]
        wiring = block.wiring
        count = wiring.by_position(inside).sum(1)
        for part in _parts(np.flatnonzero(count), wiring.fan):
            found, present = edges_of(block, number, wiring.output(part, 0), self.chosen)
            yield part, found, present, count[part]


def _parts(numbers: NDArray[np.int64], width: int) -> list[NDArray[np.int64]]:
    step = max(TILE // max(width, 1), 1)
    return [numbers[at : at + step] for at in range(0, max(len(numbers), 1), step)]


def edges_of(
    block: Block, number: int, outputs: NDArray[np.int64], chosen: Chosen | None
) -> tuple[NDArray[np.int64], Any]:
    """Return (source [outputs, slots], present: a mask of that shape, or True) for some neurons of a block."""
    slots = np.arange(block.wiring.fan)
    found, present, _ = block.wiring.source(outputs[:, None], slots[None, :])
    if chosen is not None and block.has_coefficients:
        wins = chosen(number, outputs)
        present = present if wins is None else present & wins
    return found, present


def concatenated(circuit: BlockCircuit, block: Block, masks: Mapping[int, NDArray[Any]]) -> NDArray[Any]:
    """Return the block's inputs' rows of `masks`, one after the other, as its wiring counts them."""
    parts = [masks[i] for i in block.inputs]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def split(circuit: BlockCircuit, block: Block, row: NDArray[Any]) -> list[tuple[int, NDArray[Any]]]:
    """Return (activation, its part) of a row over the concatenation of the block's inputs."""
    ends = np.cumsum([circuit.activations[i].size for i in block.inputs])
    return list(zip(block.inputs, np.split(row, ends[:-1]), strict=True))


def find_cone(
    circuit: BlockCircuit,
    output: int,
    targets: NDArray[np.int64],
    roots: Sequence[tuple[int, NDArray[np.int64]]],
    chosen: Chosen | None,
    units: bool,
    biases: bool,
    tagged: Mapping[int, Mask] | None = None,
) -> Cone:
    """Find the neurons between `roots` (activation, neurons) and the `targets` of the activation `output`, and count.

    With `biases`, every bias of a reached neuron is a root too. `tagged` are the neurons whose edges are variables;
    None: all. Memory: a flag for each neuron, and tiles of TILE edges.
    """
    walk = _ConeWalk(circuit, chosen, units, tagged)
    walk.mask(walk.reached, output)[targets] = True
    for activation, neurons in roots:
        walk.mask(walk.needed, activation)[neurons] = True
    wanted = _wanted(circuit, output, {activation for activation, _ in roots})
    for number in reversed(wanted):
        _reach(walk, number)
    edges = {number: _need(walk, number, biases) for number in wanted}
    inside = {i: mask & walk.mask(walk.needed, i) for i, mask in walk.reached.items()}
    neurons = sum(int((row > 1).sum()) for row in walk.terms.values()) + int(inside[output].sum())
    if biases:
        neurons += sum(len(bias_entries(circuit.blocks[n], inside)) for n in wanted)
    return Cone(inside, wanted, edges, neurons)


def bias_entries(block: Block, inside: Mapping[int, Mask]) -> NDArray[np.int64]:
    """Return which entries of the block's bias feed a neuron of the cone."""
    if block.bias is None:
        return np.zeros(0, np.int64)
    return np.unique(block.wiring.bias(np.flatnonzero(inside[block.output])))


def _wanted(circuit: BlockCircuit, output: int, roots: set[int]) -> tuple[int, ...]:
    """Return the blocks that the output depends on and that depend on a root, tensor by tensor."""
    below, feeds = {output}, set(roots)
    upstream = set()
    for number in reversed(range(len(circuit.blocks))):
        block = circuit.blocks[number]
        if block.output in below:
            upstream.add(number)
            below.update(block.inputs)
    wanted = []
    for number, block in enumerate(circuit.blocks):
        if number in upstream and not feeds.isdisjoint(block.inputs):
            wanted.append(number)
            feeds.add(block.output)
    return tuple(wanted)


def _reach(walk: _ConeWalk, number: int) -> None:
    """Mark the neurons of a block's inputs that feed a reached neuron of its output."""
    block = walk.circuit.blocks[number]
    into = np.zeros(walk.circuit.input_size(block), bool)
    for _, found, present, _ in walk.tiles(number, walk.mask(walk.reached, block.output)):
        into[found if present is True else found[present]] = True
    for activation, part in split(walk.circuit, block, into):
        walk.mask(walk.reached, activation)[part] = True


def _need(walk: _ConeWalk, number: int, biases: bool) -> int:
    """Mark the neurons of a block's output that a needed neuron feeds; return how many edges lie in the cone."""
    circuit, block = walk.circuit, walk.circuit.blocks[number]
    reached, needed = walk.mask(walk.reached, block.output), walk.mask(walk.needed, block.output)
    for activation in block.inputs:
        walk.mask(walk.needed, activation)
    source = concatenated(circuit, block, walk.needed)
    variables = block.has_coefficients or walk.units
    tagged = None if walk.tagged is None else concatenated(circuit, block, walk.tagged)
    terms, edges = np.zeros(len(source), np.int64), 0
    channels = np.arange(block.wiring.channels)
    for part, found, present, count in walk.tiles(number, reached):
        own = within = source[found] & present
        needed[block.wiring.output(part[within.any(1), None], channels)] = True
        if variables:
            own = within if tagged is None else within & tagged[found]
            edges += int((own.sum(1) * count).sum())
            terms[found[own]] = 2
        if tagged is not None or not variables:
            rest = (within & ~own) if variables else within
            weights = np.broadcast_to(count[:, None], rest.shape)[rest]
            terms += np.bincount(found[rest], weights, len(terms)).astype(np.int64)
    if biases and block.bias is not None:
        needed |= reached
        edges += int(reached.sum()) if tagged is None else 0
    for activation, row in split(circuit, block, terms):
        walk.terms[activation] = walk.terms.get(activation, 0) + row
    return edges
