"""Sums, means and maxima over axes of one example."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from provnet.circuit.windowed import window
from provnet.circuit.wiring import Reduction, reduction
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout, Shape, one_example
from provnet.rules.ops.pooling import pooled


def reduced(op: Op, named: int | list[int] | None, keepdim: bool) -> tuple[Reduction, Layout, Shape]:
    """Return (wiring, output's layout, reduced axes of the tensor). Refuses the examples' axis."""
    source = op.only()
    shape, layout = op.shape(source), op.layout(source)
    chosen = range(len(shape)) if named is None or named == [] else [named] if isinstance(named, int) else named
    dims = tuple(sorted({dim % len(shape) for dim in chosen}))
    if layout.axis in dims and op.batch == 1:  # nothing can mix: the one example may be on any axis, or on none
        result = tuple(1 if dim in dims else n for dim, n in enumerate(shape) if keepdim or dim not in dims)
        return reduction(shape, dims), one_example(result), dims
    if layout.axis in dims:
        op.crosses(f"it reduces axis {layout.axis}, which holds the examples")
    gone = 0 if keepdim else sum(dim < layout.axis for dim in dims)
    wiring = reduction(layout.neurons(shape), tuple(layout.place(dim) for dim in dims))
    return wiring, replace(layout, axis=layout.axis - gone), dims


@op_rule("aten.sum")
def total(op: Op) -> Placed:
    """z = the sum of x over some axes."""
    wiring, layout, _ = reduced(op, op["dim"], bool(op["keepdim"]))
    return op.place("affine", "sum", wiring, layout)


@op_rule("aten.mean")
def mean(op: Op) -> Placed:
    """z = the mean of x over some axes: weights 1/n. Over all axes behind the channels: a global pooling."""
    wiring, layout, dims = reduced(op, op["dim"], bool(op["keepdim"]))
    rank = len(op.shape(op.inputs[0]))
    role = "pooling" if rank > 2 and dims == tuple(range(2, rank)) else "sum"
    weight = op.number(1 / wiring.fan, op.tensor(op.output))
    placed = op.place("affine", role, wiring, layout, weight=weight)
    return pooled(placed) if role == "pooling" else placed


@op_rule("aten.amax", "aten.max")
def amax(op: Op) -> Placed:
    """y = the maximum of x over some axes: the first maximum in row-major order wins. Indices are no activations."""
    if op["other"] is not None:
        op.missing("call torch.maximum for the larger of two tensors")
    wiring, layout, _ = reduced(op, op["dim"], bool(op["keepdim"]))
    return pooled(op.place("selection", "pooling", wiring, layout))


@op_rule("aten.cumsum")
def cumsum(op: Op) -> Placed:
    """z_i = the sum of x_0 … x_i: a window that ends at i and reaches into a padding as long as the axis."""
    source = op.only()
    shape, layout = op.shape(source), op.layout(source)
    dim = op["dim"] % len(shape)
    if dim == layout.axis:
        op.crosses(f"it sums along axis {dim}, which holds the examples")
    neurons, place = layout.neurons(shape), layout.place(dim)
    length, rest = neurons[place], prod(neurons[place + 1 :])
    wiring = window(prod(neurons[:place]), (length, rest), (length, rest), (length, 1), (1, 1), (length - 1, 0), (1, 1))
    return op.place("affine", "sum", wiring, layout)
