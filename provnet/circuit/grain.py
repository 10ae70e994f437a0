"""From edges to variables: one for each edge, or shared ones on a coarser grain. Coarsening is a homomorphism."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.circuit.variables import EdgeSegment, PatternSegment, Place, VariableTable
from provnet.errors import OptionError

Grain = Literal["edge", "parameter", "channel", "block", "source"]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EdgeList:
    """The edges of one block within the cone, by (output, slot). A bias edge has slot `fan` and source -1.

    `unit` says that they are annotated one and are no variables.
    """

    number: int
    block: Block
    output: Rows
    slot: Rows
    source: Rows
    unit: bool

    def __len__(self) -> int:
        return len(self.output)


@dataclass(frozen=True, eq=False)
class Assigned:
    """`table` holds the variables; `of[i]` the variable of each edge of the i-th list, -1 where it is annotated one."""

    table: VariableTable
    of: tuple[Rows, ...]


@dataclass(frozen=True, eq=False)
class _Share:
    """Edges `where` of list `at` whose variables are told apart by `rows` [edges, numbers] within a group."""

    group: Hashable
    at: int
    where: Rows
    rows: Rows
    pattern: str
    path: str
    place: Place | None = None


def check_grain(grain: str) -> Grain:
    """Return `grain`. Raises `OptionError` if it is none."""
    for known in get_args(Grain):
        if grain == known:
            return known
    raise OptionError(f"grain={grain!r}: choose one of {', '.join(map(repr, get_args(Grain)))}.")


def assign(circuit: BlockCircuit, lists: Sequence[EdgeList], grain: Grain) -> Assigned:
    """Give every edge its variable. Variables are in the order of their first edge's block; within it, on grain `edge`,
    of (output, slot), on a coarser one of the numbers in their names."""
    of = tuple(np.full(len(edges), -1) for edges in lists)
    labels = block_labels(circuit)
    groups: dict[Hashable, list[_Share] | EdgeSegment] = {}
    for at, edges in enumerate(lists):
        left = np.ones(len(edges), bool)
        if edges.unit:
            continue
        for share in _shares(circuit, lists, at, labels[edges.number], grain):
            left[share.where] = False
            found = groups.setdefault(share.group, [])
            assert isinstance(found, list), "a group of shared variables"
            found.append(share)
        if grain != "source" and left.any():
            groups["edge", at] = _edge_segment(circuit, edges, labels[edges.number], np.flatnonzero(left))
            of[at][left] = -2  # marked: numbered below, when the groups before it are
    segments: list[EdgeSegment | PatternSegment] = []
    start = 0
    for group, content in groups.items():
        if isinstance(content, EdgeSegment):
            at = group[1]  # pyright: ignore[reportIndexIssue]
            of[at][of[at] == -2] = start + np.arange(len(content))
            segments.append(content)
        else:
            segments.append(_numbered(content, of, start))
        start += len(segments[-1])
    return Assigned(VariableTable(tuple(segments), grain), of)


def block_labels(circuit: BlockCircuit) -> list[str]:
    """Return a name for each block, unique: its path, with a number where blocks share one."""
    paths = [block.path or block.op for block in circuit.blocks]
    total, seen, labels = Counter(paths), Counter[str](), []
    for path in paths:
        labels.append(path if total[path] == 1 else f"{path}~{seen[path]}")
        seen[path] += 1
    return labels


def place_of(circuit: BlockCircuit, activation: int) -> Place:
    """Return the name and shape of an activation."""
    return Place(circuit.activations[activation].name, tuple(circuit.activations[activation].shape))


def _edge_segment(circuit: BlockCircuit, edges: EdgeList, label: str, rows: Rows) -> EdgeSegment:
    whole = len(rows) == len(edges)
    return EdgeSegment(
        block=edges.number,
        path=label,
        target=place_of(circuit, edges.block.output),
        inputs=tuple(place_of(circuit, i) for i in edges.block.inputs),
        fan=edges.block.wiring.fan,
        output=edges.output if whole else edges.output[rows],
        slot=edges.slot if whole else edges.slot[rows],
        source=edges.source if whole else edges.source[rows],
    )


def _numbered(shares: list[_Share], of: tuple[Rows, ...], start: int) -> PatternSegment:
    """Number the distinct rows of one group from `start`, and note each edge's number in `of`."""
    rows = np.concatenate([share.rows for share in shares])
    shape = tuple(int(i) + 1 for i in rows.max(0, initial=0))
    packed = np.ravel_multi_index(tuple(rows.T), shape) if shape else np.zeros(len(rows), np.int64)
    unique, inverse = np.unique(packed, return_inverse=True)
    index = np.stack(np.unravel_index(unique, shape), 1) if shape else np.zeros((len(unique), 0), np.int64)
    ends = np.cumsum([len(share.rows) for share in shares])
    for share, numbers in zip(shares, np.split(inverse, ends[:-1]), strict=True):
        of[share.at][share.where] = start + numbers
    return PatternSegment(shares[0].pattern, index, shares[0].path, shares[0].place)


def _shares(circuit: BlockCircuit, lists: Sequence[EdgeList], at: int, label: str, grain: Grain) -> Iterator[_Share]:
    """Yield the edges of list `at` that share variables. The rest keep their own (on `source`: are one)."""
    edges = lists[at]
    block, name = edges.block, _escape(label)
    if grain == "block":
        rows = np.zeros((len(edges), 0), np.int64)
        yield _Share(("block", at), at, np.arange(len(edges)), rows, name, label)
    elif grain == "source":
        yield from _source_shares(circuit, lists, at, label)
    elif grain != "edge":
        for bias in (False, True):
            where = np.flatnonzero((edges.source < 0) == bias)
            if len(where) == 0:
                continue
            if grain == "channel":
                rows, pattern = _channels(circuit, edges, where, bias)
                yield _Share(("channel", at, bias), at, where, rows, f"ch {name}[{pattern}]", label)
            elif block.parameters or (block.role == "linear" and not block.weight.ones):
                letter = "b" if bias else "w"
                key, rows = _parameters(block, edges.output[where], edges.slot[where], bias)
                yield _Share(key, at, where, rows, f"{letter} {name}[{{}}]", label)


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _parameters(block: Block, output: Rows, slot: Rows, bias: bool) -> tuple[Hashable, Rows]:
    """Return what tells the tensor that holds the parameters of some edges, and each one's number in it.

    Where it is the model's own, that is its name and the place in its memory, so that a weight is the same one in
    another layer, with another bias, or transposed. Else blocks share parameters if all of theirs have the same names.
    """
    index = np.asarray(block.wiring.bias(output) if bias else block.wiring.source(output, slot)[2])
    weight = block.weight
    shared = block.shared_weight
    held = None if shared is None else shared.memory
    memory = block.bias_memory if bias else held
    if memory is not None:
        name, offset, shape, strides = memory
        places = np.unravel_index(index, shape) if shape else ()
        found = offset + sum(place * step for place, step in zip(places, strides, strict=True)) + 0 * index
        return ("memory", name), found[:, None]
    wiring = block.wiring
    names = block.parameters or (id(block.bias if bias else vars(weight).get("values", weight)),)
    return ("own", bias, names, type(wiring).__name__, wiring.fan, wiring.channels, wiring.groups), index[:, None]


def _channels(circuit: BlockCircuit, edges: EdgeList, where: Rows, bias: bool) -> tuple[Rows, str]:
    """Return (out channel, [input,] in channel) of some edges, and how a name shows them.

    A channel is a feature of a dense block; else the first axis of a neuron's index, as in images.
    """
    block, output = edges.block, edges.output[where]
    wiring = block.wiring
    out = wiring.channel(output)
    if out is None:
        out = _first_axis(place_of(circuit, block.output), output)
    if bias:
        return out[:, None], "{}<-bias"
    source = edges.source[where]
    channel_in = wiring.channel_in(output, edges.slot[where], source)
    if channel_in is not None:
        return np.stack([out, channel_in], 1), "{}<-{}"
    places = [place_of(circuit, i) for i in block.inputs]
    starts = np.cumsum([0, *(p.size for p in places)])
    number = np.searchsorted(starts, source, side="right") - 1
    feed = np.zeros_like(source)
    for i, place in enumerate(places):
        mine = number == i
        feed[mine] = _first_axis(place, source[mine] - starts[i])
    if len(places) == 1:
        return np.stack([out, feed], 1), "{}<-{}"
    return np.stack([out, number, feed], 1), "{}<-{}:{}"


def _first_axis(place: Place, index: Rows) -> Rows:
    return index // (place.size // place.shape[0]) if place.shape else index


def _source_shares(circuit: BlockCircuit, lists: Sequence[EdgeList], at: int, label: str) -> Iterator[_Share]:
    """Yield the edges that leave an element of a source: the first on their way that are no unit edges."""
    edges = lists[at]
    fed = origins(circuit)
    origin = np.concatenate([fed[i] for i in edges.block.inputs])
    element = np.where(edges.source < 0, -1, origin[edges.source])
    start = 0
    for source in circuit.sources:
        place = place_of(circuit, source)
        where = np.flatnonzero((start <= element) & (element < start + place.size))
        index = np.unravel_index(element[where] - start, place.shape or (1,))
        rows = np.stack(index, 1) if place.shape else np.zeros((len(where), 0), np.int64)
        pattern = _escape(place.path) + (f"[{','.join(['{}'] * len(place.shape))}]" if place.shape else "")
        if len(where):
            yield _Share(("source", source), at, where, rows, pattern, label, place)
        start += place.size


def origins(circuit: BlockCircuit) -> dict[int, Rows]:
    """Return for each activation which source element each neuron is, seen through unit edges, or -1: none.

    Elements are counted over the concatenation of the sources.
    """
    found: dict[int, Rows] = {}
    start = 0
    for source in circuit.sources:
        size = circuit.activations[source].size
        found[source] = start + np.arange(size)
        start += size
    for block in circuit.blocks:
        size = circuit.activations[block.output].size
        if block.has_coefficients:
            found[block.output] = np.full(size, -1)
            continue
        outputs, slots = np.arange(size), np.arange(block.wiring.fan)
        index, present, _ = block.wiring.source(outputs[:, None], slots)
        present = np.broadcast_to(present, index.shape)
        slot = present.argmax(1)  # of unit edges, one at most is there
        origin = np.concatenate([found[i] for i in block.inputs])
        found[block.output] = np.where(present[outputs, slot], origin[index[outputs, slot]], -1)
    return found
