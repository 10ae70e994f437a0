"""Softmaxes: attention, and what a network's output goes through.

x is the input that the softmax gets, after scale and mask; masked positions (-inf) have no contribution.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import Block, Operand, Role
from provnet.circuit.conventions import DERIVATIVE
from provnet.circuit.deferred import Deferred
from provnet.circuit.einsums import within_rows
from provnet.circuit.weights import Jacobian, Slope, Weight
from provnet.circuit.wiring import Gather
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout


def rows_along(op: Op, dim: int) -> tuple[Layout, int, int, int]:
    """Return the layout of an op along the tensor's axis `dim`, and how one example falls into rows along it: entries
    before, along, and behind it. Refuses the examples' axis."""
    source = op.only()
    layout, rank = op.layout(source), len(op.shape(source))
    dim = dim % max(rank, 1)
    if dim == layout.axis:
        op.crosses(f"it normalises over axis {dim}, which holds the examples")
    neurons, place = layout.neurons(op.shape(source)), layout.place(dim)
    return layout, prod(neurons[:place]), neurons[place], prod(neurons[place + 1 :])


@op_rule("aten._softmax", "aten._safe_softmax", "aten.softmax")
def softmax(op: Op) -> Placed:
    """s = softmax of x along an axis. Forms: identity (unit edges), attnlrp ([AttnLRP] Proposition 3.1), constant."""
    layout, rows, size, behind = rows_along(op, op["dim"])
    unit = op.unit_edges(function="softmax")
    forms = {"constant": constant(op, unit.block)}
    plain = by_rows(op, layout, (rows, size, behind), weight=Slope(op.output, size, behind))
    forms[DERIVATIVE] = plain
    rest = Deferred(_rest, *(_rows(op, layout, value, size, behind) for value in (op.output, op.inputs[0])))
    forms["attnlrp"] = replace(plain, bias=rest, bias_by_example=True, sink="softmax's rest")
    return replace(unit, block=replace(unit.block, convention="softmax", forms=forms))


@op_rule("aten._log_softmax", "aten.log_softmax")
def log_softmax(op: Op) -> Placed:
    """y = log softmax of x: as the softmax, whose logarithm is one more step that passes relevance on.

    So d = x_i (δ_ij - s_i), as of the softmax itself: what is divided by is 1, and not y.
    """
    layout, rows, size, behind = rows_along(op, op["dim"])
    unit = op.unit_edges(function="softmax")
    forms = {"constant": constant(op, unit.block)}
    plain = by_rows(op, layout, (rows, size, behind))
    forms[DERIVATIVE] = plain
    rest = Deferred(_log_rest, *(_rows(op, layout, value, size, behind) for value in (op.output, op.inputs[0])))
    forms["attnlrp"] = replace(plain, bias=rest, bias_by_example=True, sink="softmax's rest", output_is_sum=False)
    return replace(unit, block=replace(unit.block, convention="softmax", forms=forms))


def _rows(op: Op, layout: Layout, value: int, size: int, behind: int) -> Tensor:
    """Return a tensor as [batch, rows / behind, size, behind]."""
    return layout.by_example(op.tensor(value), op.batch).reshape(op.batch, -1, size, behind)


def finite(x: Tensor) -> Tensor:
    """Return x with 0 in place of what is infinite: masked scores have no contribution."""
    return torch.where(torch.isfinite(x), x, torch.zeros((), dtype=x.dtype, device=x.device))


def _rest(s: Tensor, x: Tensor) -> Tensor:
    """Return what is left of s_j beside its contributions, s_j (1 - x_j + Σ_i s_i x_i): [batch, neurons]."""
    x = finite(x)
    mean = (s * x).sum(2, keepdim=True)
    return (s * (1 - x + mean)).reshape(len(s), -1)


def _log_rest(y: Tensor, x: Tensor) -> Tensor:
    """Return what is left of 1 beside Σ_i x_i (δ_ij - s_i), [batch, neurons]."""
    x = finite(x)
    mean = (y.exp() * x).sum(2, keepdim=True)
    return (1 - x + mean).reshape(len(y), -1)


def constant(op: Op, block: Block) -> Block:
    """Return a block in which nothing feeds the probabilities: what they receive ends there."""
    size = block.wiring.outputs
    none = Gather(size, size, taps=1, index=np.full(size, -1))
    operand = replace(block.operands[0], wiring=none)
    return replace(block, kind="index", operands=(operand,), call=None, sink="constant softmax")


def by_rows(
    op: Op, layout: Layout, sizes: tuple[int, int, int], role: Role = "softmax", weight: Weight | None = None
) -> Block:
    """Return the block of an op's derivative, whose rows do not mix. Weights: the op's own, if no others are given.

    sizes   entries before the axis along which it runs, along it, and behind it.
    """
    rows, size, behind = sizes
    if weight is None:
        call = op.call()
        if call is None:
            op.missing("it cannot be run again by itself, so its derivative is not known")
        weight = Jacobian(op.inputs[0], op.output, call, rows * behind, behind)
    operand = Operand(op.inputs[0], within_rows(rows, size, behind), weight)
    return op.block("affine", role, [operand], layout).block
