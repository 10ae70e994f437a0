"""Sums and differences of tensors, constants that are added, and what must wait for a rule of its own: products."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provnet.capture.execution import Ref
from provnet.circuit.blocks import Operand
from provnet.circuit.einsums import spread
from provnet.circuit.weights import Ones, Stored
from provnet.circuit.wiring import Expand, OneToOne, Scale, Wiring
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.broadcasting import against, result_layout
from provnet.rules.ops.broadcasting import spread as broadcast
from provnet.rules.ops.elementwise import scaled
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.index_maps import wiring_of
from provnet.rules.ops.pooling import pooled, with_forms_of


@op_rule("aten.add")
def add(op: Op) -> Placed:
    """z = x + alpha * y."""
    return weighted_sum(op, op["self"], 1, op["other"], op["alpha"])


@op_rule("aten.sub")
def sub(op: Op) -> Placed:
    """z = x - alpha * y."""
    return weighted_sum(op, op["self"], 1, op["other"], -op["alpha"])


@op_rule("aten.rsub")
def rsub(op: Op) -> Placed:
    """z = y - alpha * x."""
    return weighted_sum(op, op["self"], -op["alpha"], op["other"], 1)


def weighted_sum(op: Op, first: Any, w_first: float, second: Any, w_second: float) -> Placed:
    """z = w1 * x + w2 * y: two slots an entry if both operands are active, else one, and the constant is the bias."""
    if not (op.active(first) and op.active(second)):
        if op.active(first):
            return shifted(op, first.id, w_first, second, w_second)
        return shifted(op, second.id, w_second, first, w_first)
    layout = result_layout(op, (first.id, second.id))
    operands = [addend(op, first, w_first, layout), addend(op, second, w_second, layout)]
    return op.block("affine", "sum", operands, layout)


def unmasked(bias: Tensor) -> Tensor:
    """Return a bias with 0 where it is -inf: that masks its place, and is no contribution that others are shares of."""
    masks = bias == -torch.inf
    return torch.where(masks, torch.zeros((), dtype=bias.dtype, device=bias.device), bias) if masks.any() else bias


def addend(op: Op, value: Ref, weight: float, layout: Layout) -> Operand:
    """Return one operand of a sum, which may be broadcast to the result: p = weight * x."""
    shape, part = layout.neurons(op.shape(op.output)), against(op, value, layout)
    held = Ones() if weight == 1 else Stored(op.number(weight, op.tensor(op.output)))
    if shape != part:
        return Operand(value.id, spread(part, shape), held)
    size = prod(shape)
    wiring = OneToOne(size, size) if weight == 1 else Scale(size, size, inner=size, size=1)
    return Operand(value.id, wiring, held)


def shifted(op: Op, source: int, weight: float, constant: Any, factor: float) -> Placed:
    """z = weight * x + factor * c with a constant c: a scale whose bias is c."""
    layout = result_layout(op, [source])
    like = op.tensor(op.output)
    shape = layout.neurons(op.shape(op.output))
    bias, inner, by_example = constant_rows(op, constant, layout)
    bias = bias.to(like.dtype).to(like.device) * factor if factor != 1 else bias.to(like.dtype).to(like.device)
    bias = unmasked(bias)
    here = against(op, source, layout)
    if here == shape:
        size = bias.shape[-1]
        wiring: Wiring = Scale(prod(shape), prod(shape), inner=inner, size=size)
        scale = None if weight == 1 else torch.full((size,), weight, dtype=like.dtype, device=like.device)
    else:
        wiring = Expand(prod(here), prod(shape), shape=shape, part=here)
        rows = bias.repeat_interleave(inner, -1)
        bias = rows.repeat(*(1,) * (rows.dim() - 1), prod(shape) // rows.shape[-1])
        scale = None if weight == 1 else torch.full((prod(here),), weight, dtype=like.dtype, device=like.device)
    placed = op.place(
        "affine",
        "scale",
        wiring,
        layout,
        inputs=(source,),
        weight=scale,
        bias=bias,
        bias_by_example=by_example,
        function="add",
    )
    origin = op.execution.values[constant.id].origin if isinstance(constant, Ref) else None
    return placed if origin is None else replace(placed, block=replace(placed.block, bias_name=origin))


def constant_rows(op: Op, constant: Any, layout: Layout) -> tuple[Tensor, int, bool]:
    """Return (values [size] or [batch, size], inner, by example) of a constant that broadcasts to the result.

    Neuron k gets the value number (k // inner) % size: a number, one a channel, or one a neuron, whatever is shortest.
    """
    if not isinstance(constant, Ref):
        like = op.tensor(op.output)
        return torch.tensor([constant], dtype=like.dtype, device=like.device), 1, False
    tensor = op.tensor(constant)
    shape = layout.neurons(op.shape(op.output))
    part = against(op, constant, layout)
    aligned = tensor.reshape((1,) * (len(op.shape(op.output)) - tensor.dim()) + tuple(tensor.shape))
    by_example = op.batch > 1 and aligned.shape[layout.axis] > 1
    if by_example:
        rows = layout.by_example(aligned, op.batch)
        return rows.expand(op.batch, *shape).reshape(op.batch, -1), 1, True
    wide = [dim for dim, size in enumerate(part) if size > 1]
    if not wide:
        return tensor.reshape(1), 1, False
    if part[wide[0] : wide[-1] + 1] == shape[wide[0] : wide[-1] + 1]:
        return tensor.reshape(-1), prod(shape[wide[-1] + 1 :]), False
    return tensor.reshape(part).expand(shape).reshape(-1), 1, False


@op_rule("aten.maximum", "aten.fmax")
def maximum(op: Op) -> Placed:
    """y = max(x_0, x_1): the larger one wins, the first of two equal ones. With a constant: a clamp, unit edges."""
    first, second = op["self"], op["other"]
    if not (op.active(first) and op.active(second)):
        return scaled(op)
    layout = result_layout(op, (first.id, second.id))
    operands = [addend(op, first, 1, layout), addend(op, second, 1, layout)]
    return pooled(op.block("selection", "pooling", operands, layout))


@op_rule("aten.minimum", "aten.fmin")
def minimum(op: Op) -> Placed:
    """y = min(x_0, x_1): an index map of the smaller ones, the first of two equal ones. With a constant: unit edges."""
    first, second = op["self"], op["other"]
    if not (op.active(first) and op.active(second)):
        return scaled(op)
    layout = result_layout(op, (first.id, second.id))
    places = [broadcast(op, value.id, layout) for value in (first, second)]
    x, y = (
        op.by_example(value).reshape(op.batch, -1)[:, torch.tensor(at)]
        for value, at in zip((first, second), places, strict=True)
    )
    sizes = [op.size(value) for value in (first, second)]
    index = np.where((y < x).cpu().numpy(), places[1] + sizes[0], places[0])
    operands = [addend(op, first, 1, layout), addend(op, second, 1, layout)]
    plain = pooled(op.block("selection", "pooling", operands, layout))
    return with_forms_of(plain, op.place("index", "none", wiring_of(index, sum(sizes)), layout))
