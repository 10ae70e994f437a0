"""Ops that only move entries: views, slices, concatenations, padding, look-ups by a constant index.

Views keep the row-major order, so no index is made for them. For the others the op itself is asked: it is run on the
entries' numbers, and again on the numbers turned round; what turns with them is routed, what does not is fill.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import Operand
from provnet.circuit.einsums import permuted, spread
from provnet.circuit.wiring import Gather, GatherByExample, OneToOne, Part, Wiring
from provnet.rules.ops.arguments import references
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.broadcasting import against
from provnet.rules.ops.entries import FILL, Entries, Numbering, called, entries_of
from provnet.rules.ops.example_layout import Layout, by_table, layouts, table_of, view_layout


def wiring_of(index: np.ndarray, inputs: int) -> Wiring:
    """Return the wiring in which output k is input index[k], or nothing where that is -1.

    An index [batch, outputs] has a row for each example; where all are one, so is the wiring.
    """
    if index.ndim == 2 and not (index == index[0]).all():
        distinct = all(_distinct(row, inputs) for row in index)
        return GatherByExample(inputs, index.shape[1], taps=1 if distinct else None, index=np.ascontiguousarray(index))
    index = index[0].copy() if index.ndim == 2 else index
    if len(index) == inputs and np.array_equal(index, np.arange(inputs)):
        return OneToOne(inputs, inputs)
    return Gather(inputs, len(index), taps=1 if _distinct(index, inputs) else None, index=index)


def _distinct(index: np.ndarray, inputs: int) -> bool:
    """Return whether no input is used twice. A flag for each is several times faster than numpy's unique."""
    found = index[index != FILL]
    used = np.zeros(inputs, bool)
    used[found] = True
    return int(used.sum()) == len(found)


# --- views that keep the order ----------------------------------------------------------------------------------------


def order_kept(op: Op, layout: Layout | None) -> Placed:
    """Return the block of a view of the only active input that keeps the order of all entries."""
    source = op.only()
    if layout is None or not layout.fits(op.shape(op.output), op.batch):
        op.crosses(f"in the result {list(op.shape(op.output))} no single axis holds the examples")
    size = op.size(source)
    return op.place("index", "none", OneToOne(size, size), layout)


@op_rule(
    "aten.view",
    "aten.reshape",
    "aten._unsafe_view",
    "aten._reshape_alias",
    "aten.flatten",
    "aten.unflatten",
    "aten.ravel",
)
def view(op: Op) -> Placed:
    """The same entries in the same order under another shape."""
    source = op.only()
    if op.tensor(source).dtype != op.tensor(op.output).dtype:
        op.missing("it reads the bits as another dtype")
    return order_kept(op, view_layout(op.layout(source), op.shape(source), op.shape(op.output), op.batch))


@op_rule("aten.unsqueeze")
def unsqueeze(op: Op) -> Placed:
    """An axis of size one is put in."""
    layout = op.layout(op.only())
    if not op.shape(op.only()):  # one example's number
        return order_kept(op, Layout())
    dim = op["dim"] % len(op.shape(op.output))
    return order_kept(op, replace(layout, axis=layout.axis + (dim <= layout.axis)))


@op_rule("aten.squeeze")
def squeeze(op: Op) -> Placed:
    """Axes of size one are taken out. In a batch of one the examples' own axis may be among them."""
    source = op.only()
    layout, shape = op.layout(source), op.shape(source)
    named = op["dim"]
    dims = range(len(shape)) if named is None else (named,) if isinstance(named, int) else named
    gone = {dim % len(shape) for dim in dims if shape[dim] == 1}
    if layout.axis in gone:
        return order_kept(op, view_layout(layout, shape, op.shape(op.output), op.batch))
    return order_kept(op, replace(layout, axis=layout.axis - sum(dim < layout.axis for dim in gone)))


# --- views whose layout is known --------------------------------------------------------------------------------------


@op_rule("aten.permute", "aten.transpose", "aten.t", "aten.movedim", "aten.swapaxes", "aten.adjoint")
def permute(op: Op) -> Placed:
    """Axes change places. The examples' axis is found by running the op on a shape whose sizes tell axes apart."""
    layout, rank = op.layout(op.only()), len(op.shape(op.output))
    order = [n - 2 for n in op.replay(lambda ref: torch.empty(tuple(range(2, 2 + rank)), device="meta"))[0].shape]
    after = replace(layout, axis=order.index(layout.axis))
    neurons, beside = op.neurons(op.only()), len(layout.merged)
    places = [
        place
        for axis in order
        for place in (range(layout.axis, layout.axis + beside) if axis == layout.axis else (layout.place(axis),))
    ]
    size = prod(neurons)
    kept = places == sorted(places) or size < 2
    wiring = OneToOne(size, size) if kept else permuted(neurons, tuple(places))
    return op.place("index", "none", wiring, after)


@op_rule("aten.expand")
def expand(op: Op) -> Placed:
    """Axes of size one are repeated, and new ones stand in front."""
    source = op.only()
    layout = op.layout(source)
    axis = layout.axis + len(op.shape(op.output)) - len(op.shape(source))
    if not op.shape(source) or op.shape(op.output)[axis] != op.shape(source)[layout.axis]:
        found = index_map(op)[0]
        return op.missing() if found is None else found
    after = replace(layout, axis=axis)
    part, neurons = against(op, source, after), after.neurons(op.shape(op.output))
    size = prod(neurons)
    return op.place("index", "none", OneToOne(size, size) if prod(part) == size else spread(part, neurons), after)


# --- anything else: ask the op ----------------------------------------------------------------------------------------


def holding(op: Op, example: Tensor, near: Layout) -> Layout:
    """Return the layout in which every entry belongs to the example that `example` says (-1: to any)."""
    shape = tuple(example.shape)
    for layout in (near, *layouts(shape, op.batch)):
        if layout.fits(shape, op.batch):
            rows = layout.numbers_by_example(example, op.batch, FILL)
            own = torch.arange(op.batch)[:, None]
            if bool(((rows == own) | (rows == FILL)).all()):
                return layout
    if op.batch > 1 and (found := _table(op, example, near)) is not None:
        return found
    op.crosses(f"no axis of the result {list(shape)} holds the {op.batch} examples, each with its own entries only")


def _table(op: Op, example: Tensor, near: Layout) -> Layout | None:
    """Return the layout that lists which indices of an axis belong to each example; None if some index has several."""
    for axis in sorted(range(example.dim()), key=lambda axis: abs(axis - near.axis)):
        rows = example.movedim(axis, 0).reshape(example.shape[axis], -1)
        owner = rows.amax(1)
        if not bool(((rows == owner[:, None]) | (rows == FILL)).all()):
            continue
        known = _with_constants(op, owner.numpy())
        if (known > FILL).any():
            return by_table(axis, table_of(known, op.batch))
    return None


def _with_constants(op: Op, owner: np.ndarray) -> np.ndarray:
    """Return the example of each index, where constants have none yet.

    What is sorted as another tensor is, such as the first states of packed sequences, belongs alike. A buffer that is
    written window by window has its rows from the first window on: rows of one length that have one example each.
    """
    if (owner > FILL).all():
        return owner
    for order in dict.fromkeys(layout.order for layout in op.layouts.values()):
        if order is not None and order.size == len(owner):
            other = order.owner
            if (other > FILL).all() and (other == owner)[owner > FILL].all():
                return other
    for count in range(1, len(owner)):
        if len(owner) % count == 0:
            rows = owner.reshape(count, -1)
            most = rows.max(1)
            if (most > FILL).all() and ((rows == most[:, None]) | (rows == FILL)).all():
                return most.repeat(rows.shape[1])
    return owner


@op_rule(
    "aten._pack_padded_sequence",
    "aten.as_strided",
    "aten.as_strided_scatter",
    "aten.block_diag",
    "aten.chunk",
    "aten.constant_pad_nd",
    "aten.diag_embed",
    "aten.diagonal",
    "aten.diagonal_scatter",
    "aten.fill",
    "aten.flip",
    "aten.gather",
    "aten.im2col",
    "aten.index",
    "aten.index_copy",
    "aten.index_fill",
    "aten.index_put",
    "aten.index_select",
    "aten.masked_fill",
    "aten.masked_scatter",
    "aten.masked_select",
    "aten.max_unpool2d",
    "aten.max_unpool3d",
    "aten.narrow",
    "aten.pad",
    "aten.put",
    "aten.pixel_shuffle",
    "aten.pixel_unshuffle",
    "aten.channel_shuffle",
    "aten.reflection_pad1d",
    "aten.reflection_pad2d",
    "aten.reflection_pad3d",
    "aten.repeat",
    "aten.replication_pad1d",
    "aten.replication_pad2d",
    "aten.replication_pad3d",
    "aten.roll",
    "aten.rot90",
    "aten.scatter",
    "aten.select",
    "aten.select_scatter",
    "aten.slice",
    "aten.slice_scatter",
    "aten.split",
    "aten.split_with_sizes",
    "aten.stack",
    "aten.take",
    "aten.take_along_dim",
    "aten.tile",
    "aten.tril",
    "aten.triu",
    "aten.unbind",
    "aten.unfold",
    "aten.unsafe_chunk",
    "aten.unsafe_split",
    "aten.unsafe_split_with_sizes",
    "aten._unsafe_index",
    "aten.upsample_nearest1d",
    "aten.upsample_nearest2d",
    "aten.upsample_nearest3d",
    "aten._upsample_nearest_exact1d",
    "aten._upsample_nearest_exact2d",
    "aten._upsample_nearest_exact3d",
    "aten.where",
    "provnet.gathered",
    "provnet.read_window",
    "provnet.write_window",
)
def index_map(op: Op) -> list[Placed | None]:
    """Every entry of the results is an entry of an active input, or fill.

    The routing may differ from example to example: masks, lengths, indices of each example's own.
    Raises: `CrossExampleError` if a result's entry comes from another example than its neighbours' layout says,
    `MissingRuleError` if the op computes.
    Memory: four float64 or int64 tensors of the inputs' and results' sizes; of a view, of the result's alone.
    """
    inputs = tuple(dict.fromkeys(op.inputs))
    key = called(op)
    known = op.memo if key is not None else {}
    if key not in known:
        known[key] = entries_of(op, inputs, key is not None and op.traced.func.is_view), {}
    found, maps = known[key]
    placed: list[Placed | None] = []
    for place, (output, entries) in enumerate(zip(op.traced.outputs, found, strict=True)):
        if output is None or entries is None or not op.execution.values[output].active:
            placed.append(None)
            continue
        _check_entries(op, inputs, entries.origin, output)
        wiring, layout = maps[place] if place in maps else _map(op, inputs, entries)
        if layout.order is None:  # tables depend on what is known of other tensors by then
            maps[place] = wiring, layout
        placed.append(op.place("index", "none", wiring, layout, inputs=inputs, output=output))
    return placed


def entries_placed(op: Op, inputs: tuple[int, ...], numbers: Numbering, origin: Tensor, output: int) -> Placed:
    """Return the index map in which each entry of a result is the entry of the inputs with the number `origin`, -1:
    none.

    Raises: `CrossExampleError` if the entries of one example do not lie together in the result.
    """
    entries = Entries(origin, numbers.neuron[origin], numbers.example[origin])
    return op.place("index", "none", *_map(op, inputs, entries), inputs=inputs, output=output)


def _map(op: Op, inputs: tuple[int, ...], entries: Entries) -> tuple[Wiring, Layout]:
    """Return the wiring of a result's entries, and where it holds its examples."""
    layout = holding(op, entries.example, op.layout(inputs[0]))
    rows = layout.numbers_by_example(entries.neuron, op.batch, FILL)
    return wiring_of(rows.numpy(), sum(map(op.size, inputs))), layout


def _check_entries(op: Op, inputs: tuple[int, ...], origin: Tensor, output: int) -> None:
    """Refuse an op whose recorded result is not made of the entries that its run on numbers chose.

    What a top-k or a sort chooses depends on the values: on numbers it chooses others.
    """
    recorded = op.tensor(output)
    parts = [op.tensor(i).reshape(-1).to(recorded.dtype) for i in inputs]
    entries = parts[0] if len(parts) == 1 else torch.cat(parts)
    found = torch.where(origin == FILL, recorded.cpu(), entries.cpu()[origin])
    same = (found == recorded.cpu()) | (found.isnan() & recorded.cpu().isnan())
    if not bool(same.all()):
        op.missing("it was taken for an index map, but which entries it takes, or what they become, depends on values")


@op_rule("aten.cat", "aten.concat")
def cat(op: Op) -> list[Placed | None] | Placed:
    """z = cat(x_0, x_1, …): each part is an operand. Along the examples' own axis the op itself is asked."""
    layout, rank = op.layout(op.inputs[0]), len(op.shape(op.output))
    dim = op["dim"] % rank
    alike = all(op.layout(i) == layout and len(op.shape(i)) == rank for i in op.inputs)
    if not alike or dim == layout.axis:
        return index_map(op)
    behind = prod(layout.neurons(op.shape(op.output))[layout.place(dim) + 1 :])
    outputs, width = op.size(op.output, layout), op.shape(op.output)[dim] * behind
    operands, first = [], 0
    for part in references(op["tensors"]):
        if not op.tensor(part).numel():
            continue
        size = op.shape(part)[dim] * behind
        if op.active(part):
            inputs = op.size(part)
            wiring = Part(inputs, outputs, first=first, size=size, width=width)
            operands.append(Operand(part.id, wiring))
        first += size
    return op.block("index", "none", operands, layout)
