"""Reductions of all that comes before, along an axis: running products, and running logarithms of sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import Operand
from provnet.circuit.conventions import DERIVATIVE
from provnet.circuit.deferred import Deferred
from provnet.circuit.table import Table, table
from provnet.circuit.weights import PerExample
from provnet.errors import LimitError
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.opaque import LIMIT
from provnet.rules.ops.softmax import finite


def _until(op: Op) -> tuple[Table, Layout, tuple[int, int, int]]:
    """Return the wiring in which entry i of a row is fed by those up to i, the layout, and how an example falls into
    rows: entries before the axis, along it, and behind it."""
    source = op.only()
    shape, layout = op.shape(source), op.layout(source)
    dim = op["dim"] % len(shape)
    if dim == layout.axis:
        op.crosses(f"it runs along axis {dim}, which holds the examples")
    neurons, place = layout.neurons(shape), layout.place(dim)
    before, length, behind = prod(neurons[:place]), neurons[place], prod(neurons[place + 1 :])
    if op.batch * before * length * length * behind > LIMIT:
        raise LimitError(
            f"{op}: an entry is fed by all before it along an axis of {length}, {op.batch} x {before * behind} x "
            f"{length}² edges, more than {LIMIT:,}. Take a smaller batch, or {op.uniform_instead}."
        )
    slots, entries = np.arange(length), np.arange(before * length * behind)
    first = entries // (length * behind) * (length * behind) + entries % behind
    index = np.where(slots <= (entries // behind % length)[:, None], first[:, None] + slots * behind, -1)
    return table(index, before * length * behind), layout, (before, length, behind)


def _rows(x: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    """Return the entries of examples as [batch, before, behind, along]."""
    return x.reshape(len(x), *sizes).movedim(2, -1)


def _as_table(weights: Tensor) -> Tensor:
    """Return [batch, before, behind, outputs, slots] as the table has them, [batch, entries * slots]."""
    return weights.movedim(3, 2).reshape(len(weights), -1)


@op_rule("aten.cumprod")
def cumprod(op: Op) -> Placed:
    """z_i = x_0 · … · x_i: the whole product is each factor's contribution, and the i + 1 factors share alike."""
    wiring, layout, sizes = _until(op)
    rows = op.by_example(op.only()).reshape(op.batch, -1)
    weight = PerExample(Deferred(_others(sizes), rows))
    block = op.block("affine", "sum", [Operand(op.only(), wiring, weight)], layout).block
    remark = "tie: all alike"
    full = replace(block, sink="full products", remark=remark)
    # What a factor's share is divided by is the sum of them all, i + 1 times the product.
    alike = replace(block, output_is_sum=False, convention="products", remark=remark)
    return Placed(replace(alike, forms={"full": full, DERIVATIVE: block}), layout)


def _others(sizes: tuple[int, int, int]) -> Callable[[Tensor], Tensor]:
    """Return the function that gives of every running product the product of all of its factors but one."""

    def others(x: Tensor) -> Tensor:
        rows, n = _rows(x, sizes), sizes[1]
        at = torch.arange(n, device=x.device)
        # left[j] = x_0 … x_(j-1); right[i, j] = x_(j+1) … x_i, which is 1 for i <= j.
        ones = torch.ones_like(rows[..., :1])
        left = torch.cat([ones, rows[..., :-1]], -1).cumprod(-1)
        kept = torch.where(at > at[:, None], rows.unsqueeze(-2), 1)  # [.., j, i]: x_i where i > j
        right = kept.cumprod(-1).mT
        return _as_table(left.unsqueeze(-2) * right)

    return others


@op_rule("aten.logcumsumexp")
def logcumsumexp(op: Op) -> Placed:
    """z_i = log Σ exp a_j over j up to i: p_j = s_j a_j, s the softmax of these; the rest, its entropy, is a bias."""
    wiring, layout, sizes = _until(op)
    x, z = (layout.by_example(op.tensor(value), op.batch).reshape(op.batch, -1) for value in (op.only(), op.output))
    weight = PerExample(Deferred(_shares(sizes), x, z))
    rows, shares = _rows(finite(x), sizes), _table_of_shares(x, z, sizes)
    rest = _rows(z, sizes) - (shares * rows.unsqueeze(-2)).sum(-1)
    bias = rest.movedim(-1, 2).reshape(op.batch, -1)
    operand = Operand(op.only(), wiring, weight)
    placed = op.block("affine", "softmax", [operand], layout, bias=bias, bias_by_example=True)
    return replace(placed, block=replace(placed.block, sink="softmax's rest"))


def _table_of_shares(x: Tensor, z: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    """Return s_ij = exp(a_j - z_i) for j up to i, else 0: [batch, before, behind, i, j]."""
    return (_rows(x, sizes).unsqueeze(-2) - _rows(z, sizes).unsqueeze(-1)).exp().tril()


def _shares(sizes: tuple[int, int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    def shares(x: Tensor, z: Tensor) -> Tensor:
        return _as_table(_table_of_shares(x, z, sizes))

    return shares
