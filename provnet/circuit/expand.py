"""From blocks to gates: R_y = 1, R_j = ⊕ over the edges j → k of x_jk ⊗ R_k ([GSM25] eq. 3, 6, 7), for one example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.circuit.cone import Chosen, Cone, edges_of, find_cone
from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore, Neuron
from provnet.circuit.grain import EdgeList, assign, check_grain, origins, place_of
from provnet.circuit.hash_cons import hash_cons
from provnet.circuit.variables import Place
from provnet.errors import LimitError, OptionError, TargetError

Roots = Sequence[tuple[int, Sequence[int] | None]]
"""(activation, row-major numbers of its neurons; None: all), in the order in which the circuit is to give them."""


def expand(
    circuit: BlockCircuit,
    target: int | Sequence[int],
    output: int | None = None,
    *,
    chosen: Chosen | None = None,
    roots: Roots | None = None,
    grain: str = "edge",
    units: bool = False,
    biases: bool = False,
    limit: int | None = 1_000_000,
) -> GateStore:
    """Make explicit gates of one example's relevance.

    Args
        target   neuron of the activation `output` (row-major, without the example), or several: each starts at one
        output   an activation; None: the circuit's only output
        chosen   (block, outputs) -> mask [outputs, slots] of the winners of a selection, for the example in question;
                 None: all of its slots are present
        roots    which neurons' relevance is asked for; None: all of the circuit's sources
        grain    which edges share a variable: "edge" (none), "parameter", "channel", "block" or "source"
        units    whether the unit edges (activations, views) become variables too
        biases   whether a bias's edges are there; then every bias is a root as well, `Neuron(path + ":bias", (entry,))`
                 of the blocks in order, zero where it feeds no neuron of the cone
        limit    on variables + one ⊗ for each edge of the cone + one ⊕ for each neuron; None: no limit

    Of these gates, x ⊗ 1 and one-term ⊕ are then elided. Only neurons on a path from a root to a target are looked at.
    Coarser grains are hash-consed, for there ⊗ of the same two operands recur.
    Raises `TargetError`, `OptionError`, and `LimitError` with the size before any gate is made.
    Memory: 60 bytes an edge of the cone. Source: [GSM25] section 3; the MNIST perceptron has 531,785 gates.
    """
    known = check_grain(grain)
    output = _only_output(circuit) if output is None else output
    targets = _neurons(circuit, output, [target] if isinstance(target, int) else target)
    asked = _roots(circuit, roots)
    tagged = {i: row >= 0 for i, row in origins(circuit).items()} if known == "source" else None
    cone = find_cone(circuit, output, targets, asked, chosen, units, biases, tagged)
    _check_size(circuit, cone, known, limit)
    lists = [list_edges(circuit, cone, number, chosen, units, biases) for number in cone.wanted]
    assigned = assign(circuit, lists, known)
    if known != "edge":
        _check_size(circuit, cone, known, limit, len(assigned.table))
    build = _ExpansionBuild(circuit, cone, len(assigned.table))
    build.gates[output] = np.where(_flags(circuit, output, targets), 1, 0).astype(np.int32)
    for edges, variables in zip(reversed(lists), reversed(assigned.of), strict=True):
        build.pull(edges, variables)
    found = [(place_of(circuit, a), neurons, build.relevance(a)) for a, neurons in asked]
    if biases:
        found += [build.bias(number) for number in cone.wanted if circuit.blocks[number].bias is not None]
    store = build.store(assigned.table, found)
    return store if known == "edge" and not build.repeats else hash_cons(store)


def list_edges(
    circuit: BlockCircuit, cone: Cone, number: int, chosen: Chosen | None, units: bool, biases: bool
) -> EdgeList:
    """Return the edges of one block within the cone, by (output, slot)."""
    block = circuit.blocks[number]
    fan = block.wiring.fan
    inside = np.concatenate([cone.inside[i] for i in block.inputs])
    outputs = np.flatnonzero(cone.inside[block.output])
    step = max((1 << 20) // max(fan, 1), 1)
    parts = []
    for at in range(0, len(outputs), step):
        some = outputs[at : at + step]
        found, present = edges_of(block, number, some, chosen)
        row, slot = np.nonzero(inside[found] & present)
        parts.append((some[row], slot, found[row, slot]))
    if biases and block.bias is not None:
        parts.append((outputs, np.full(len(outputs), fan), np.full(len(outputs), -1)))
    none = np.zeros(0, np.int64)
    columns = [np.concatenate([part[i] for part in parts]) if parts else none for i in range(3)]
    if biases and block.bias is not None:
        order = np.lexsort((columns[1], columns[0]))
        columns = [column[order] for column in columns]
    return EdgeList(number, block, *columns, unit=not (block.has_coefficients or units))


@dataclass(eq=False)
class _ExpansionBuild:
    """The gates under construction. 0 is zero, 1 is one, then come the variables, then ⊗ and ⊕ in topological order."""

    circuit: BlockCircuit
    cone: Cone
    variables: int
    gates: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    terms: dict[int, list[tuple[NDArray[np.int64], NDArray[np.int32]]]] = field(default_factory=dict)
    bias_terms: dict[int, tuple[NDArray[np.int64], NDArray[np.int32]]] = field(default_factory=dict)
    kinds: list[NDArray[np.uint8]] = field(default_factory=list)
    fans: list[NDArray[np.int64]] = field(default_factory=list)
    operands: list[NDArray[np.int32]] = field(default_factory=list)
    count: int = 0
    repeats: bool = False
    """Whether two gates may have the same operands. On grain `edge` every ⊗ has a variable of its own, and a unit edge
    is a neuron's only way out through its block: so only where targets are joined by unit edges alone, 1 ⊕ 1."""

    def emit(self, kind: int, fan: NDArray[np.int64], operands: NDArray[np.int32]) -> NDArray[np.int32]:
        """Append gates of one kind; return their numbers."""
        start = 2 + self.variables + self.count
        self.kinds.append(np.full(len(fan), kind, np.uint8))
        self.fans.append(fan)
        self.operands.append(operands)
        self.count += len(fan)
        return np.arange(start, start + len(fan), dtype=np.int32)

    def pull(self, edges: EdgeList, variables: NDArray[np.int64]) -> None:
        """Turn a block's edges into terms x_jk ⊗ R_k of its inputs."""
        block = edges.block
        arriving = self.relevance(block.output)[edges.output]
        term = np.where(variables < 0, arriving, variables + 2).astype(np.int32)
        both = np.flatnonzero((variables >= 0) & (arriving != 1))
        pairs = np.stack([term[both], arriving[both]], 1).reshape(-1)
        term[both] = self.emit(TIMES, np.full(len(both), 2), pairs)
        if len(edges) and edges.source.min() < 0:
            bias = edges.source < 0
            self.bias_terms[edges.number] = (block.wiring.bias(edges.output[bias]), term[bias])
            kept = ~bias
        else:
            kept = slice(None)
        source, term, start = edges.source[kept], term[kept], 0
        single = len(block.inputs) == 1
        for activation in block.inputs:
            size = self.circuit.activations[activation].size
            mine = slice(None) if single else (start <= source) & (source < start + size)
            self.terms.setdefault(activation, []).append((source[mine] - start, term[mine]))
            start += size

    def relevance(self, activation: int) -> NDArray[np.int32]:
        """Return the gate of each neuron of an activation all of whose consumers have been pulled, [size]."""
        if activation not in self.gates:
            # Later blocks were pulled first; terms stand in the order block, output, slot.
            parts = self.terms.pop(activation, [])[::-1]
            self.gates[activation] = self.sums(parts, self.circuit.activations[activation].size)
        return self.gates[activation]

    def sums(self, parts: list[tuple[NDArray[np.int64], NDArray[np.int32]]], size: int) -> NDArray[np.int32]:
        """Return a gate for each of `size` neurons: the ⊕ of its terms, its one term, or zero."""
        gates = np.zeros(size, np.int32)
        if not parts:
            return gates
        neuron = np.concatenate([part[0] for part in parts])
        term = np.concatenate([part[1] for part in parts])
        # Sorting numbers that carry their place is several times faster than a stable argsort.
        order = np.sort(neuron * len(neuron) + np.arange(len(neuron))) % max(len(neuron), 1)
        neuron, term = neuron[order], term[order]
        fan = np.bincount(neuron, minlength=size)
        alone = fan[neuron] == 1
        gates[neuron[alone]] = term[alone]
        several = np.flatnonzero(fan > 1)
        if len(several):
            together = term[~alone]
            gates[several] = self.emit(PLUS, fan[several], together)
            self.repeats = self.repeats or bool((together == 1).any())
        return gates

    def bias(self, number: int) -> tuple[Place, NDArray[np.int64], NDArray[np.int32]]:
        """Return (place, entries, gates) of a block's bias."""
        block: Block = self.circuit.blocks[number]
        size = 1 + int(np.max(block.wiring.bias(np.arange(block.wiring.outputs)), initial=-1))
        parts = [self.bias_terms[number]] if number in self.bias_terms else []
        return Place(f"{block.path}:bias", (size,)), np.arange(size), self.sums(parts, size)

    def store(self, table: Sequence, found: list[tuple[Place, NDArray[np.int64], NDArray[np.int32]]]) -> GateStore:
        """Return the gates as a store; zero and one only where something refers to them."""
        operands = np.concatenate([np.zeros(0, np.int32), *self.operands])
        root_gates = np.concatenate([np.zeros(0, np.int32), *(gates[neurons] for _, neurons, gates in found)])
        used = [bool((operands == g).any() or (root_gates == g).any()) for g in (ZERO, ONE)]
        shift = 2 - sum(used)
        number = np.arange(2 + self.variables + self.count, dtype=np.int32) - shift
        number[:2] = [0, int(used[0])]
        leaves = [ZERO] * used[0] + [ONE] * used[1]
        head = sum(used) + self.variables
        fan = np.concatenate([np.zeros(head, np.int64), *self.fans])
        kind = np.concatenate([np.array(leaves, np.uint8), np.full(self.variables, VARIABLE, np.uint8), *self.kinds])
        variable = np.full(len(kind), -1, np.int32)
        variable[sum(used) : head] = np.arange(self.variables)
        roots = tuple(neuron for place, numbers, _ in found for neuron in _named(place, numbers))
        return GateStore(
            kind=kind,
            first=np.concatenate([[0], np.cumsum(fan)]),
            operands=operands - shift if shift and not any(used) else number[operands],
            variable=variable,
            variables=table,
            roots=roots,
            root_gates=number[root_gates],
        )


def _named(place: Place, numbers: NDArray[np.int64]) -> list[Neuron]:
    index = np.stack(np.unravel_index(numbers, place.shape), 1).tolist() if place.shape else [()] * len(numbers)
    return [Neuron(place.path, tuple(row)) for row in index]


def _flags(circuit: BlockCircuit, activation: int, neurons: NDArray[np.int64]) -> NDArray[np.bool_]:
    flags = np.zeros(circuit.activations[activation].size, bool)
    flags[neurons] = True
    return flags


def _only_output(circuit: BlockCircuit) -> int:
    if len(circuit.outputs) == 1:
        return circuit.outputs[0]
    names = ", ".join(repr(circuit.activations[i].name) for i in circuit.outputs)
    raise OptionError(f"the circuit has {len(circuit.outputs)} outputs: {names}. Say which one to explain: output=.")


def _neurons(circuit: BlockCircuit, activation: int, numbers: Sequence[int]) -> NDArray[np.int64]:
    size = circuit.activations[activation].size
    found = np.asarray(numbers, np.int64).reshape(-1)
    if len(found) == 0 or found.min() < 0 or found.max() >= size:
        name = circuit.activations[activation].name
        raise TargetError(
            f"the neurons {list(numbers)} of {name!r}: it has {size} an example, shape "
            f"{circuit.activations[activation].shape}. Give one or more numbers from 0 to {size - 1}."
        )
    return found


def _roots(circuit: BlockCircuit, roots: Roots | None) -> list[tuple[int, NDArray[np.int64]]]:
    asked = [(source, None) for source in circuit.sources] if roots is None else roots
    return [
        (
            activation,
            np.arange(circuit.activations[activation].size) if some is None else _neurons(circuit, activation, some),
        )
        for activation, some in asked
    ]


def _check_size(circuit: BlockCircuit, cone: Cone, grain: str, limit: int | None, variables: int | None = None) -> None:
    """Refuse a cone of more gates than `limit`. On a coarser grain, variables are counted when the rest is small."""
    edges = sum(cone.edges.values())
    known = edges if grain == "edge" else variables
    size = edges + cone.neurons + (known or 0)
    if limit is None or size <= limit:
        return
    block = circuit.blocks[max(cone.edges, key=lambda number: cone.edges[number])]
    count = f"{size:,} gates" if known is not None else f"more than {size:,} gates"
    kinds = "" if known is None else f"{known:,} variables, "
    kinds += f"{edges:,} ⊗, one an edge, {cone.neurons:,} ⊕, one a neuron"
    raise LimitError(
        f"the explicit circuit would have {count} ({kinds}), above limit={limit:,}; most edges are in {block.path!r} "
        f"({max(cone.edges.values()):,}). Raise the limit, or ask for less: fewer roots, roots nearer to the "
        "output (at=), fewer targets. `evaluate` on the blocks needs no gates at all."
    )
