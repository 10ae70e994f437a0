"""Sums of listed entries: index_add, scatter_add, as a graph gathers messages and a mixture its experts' tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from provnet.capture.execution import Ref
from provnet.circuit.blocks import Operand
from provnet.circuit.table import Table, listed, table
from provnet.circuit.weights import Ones, Stored
from provnet.circuit.wiring import OneToOne
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.index_maps import FILL, holding, numbering, wiring_of


@op_rule("aten.index_add", "aten.scatter_add")
def entries_added(op: Op) -> Placed:
    """z = x with the entries of y added at the indices, alpha times: x and y are operands; what is constant, a bias."""
    into, added = op["self"], op["source"] if op.short == "index_add" else op["src"]
    places, taken = pairs(op, added)
    layout, operands = op.layout(into if op.active(into) else added), []
    if op.active(added):
        layout, wiring = wired(op, into, added, places, taken)
        alpha = 1 if op["alpha"] is None else op["alpha"]
        held = Ones() if alpha == 1 else _all(alpha, wiring, op.tensor(op.output))
        operands.append(Operand(added.id, wiring, held))
    if op.active(into):
        size = op.size(into)
        operands.insert(0, Operand(into.id, OneToOne(size, size)))
    bias = _constant(op, layout)
    return op.block("affine", "sum", operands, layout, bias=bias, bias_by_example=bias is not None and bias.dim() > 1)


def _all(value: float, wiring: Table, like: Tensor) -> Stored:
    """Return one number on every edge of a table."""
    return Stored(torch.full((wiring.index.size,), value, dtype=like.dtype, device=like.device))


def pairs(op: Op, added: Ref) -> tuple[Tensor, Tensor]:
    """Return for each entry that is taken of `added` its place in the result, and its own number, row-major."""
    if op.active(op["index"]):
        op.missing("its indices depend on a source")
    numbers = torch.arange(op.tensor(op.output).numel()).reshape(op.shape(op.output))
    index, shape = op.tensor(op["index"]).cpu(), op.shape(added)
    own = torch.arange(op.tensor(added).numel()).reshape(shape)
    if op.short == "index_add":
        return numbers.index_select(op["dim"], index.reshape(-1)).reshape(-1), own.reshape(-1)
    taken = own[tuple(slice(size) for size in index.shape)]
    return numbers.gather(op["dim"], index).reshape(-1), taken.reshape(-1)


def wired(op: Op, into: Ref, added: Ref, places: Tensor, taken: Tensor) -> tuple[Layout, Table]:
    """Return the result's layout, and which entries of `added` go to which of its neurons, as in all examples.

    Raises: `CrossExampleError` if an entry goes to another example, `MissingRuleError` if examples differ.
    """
    numbers = numbering(op, (added.id,))
    example = numbers.example[taken]
    if op.active(into):
        layout = op.layout(into)
    else:
        of = torch.full((op.tensor(op.output).numel(),), FILL).index_put((places,), example)
        layout = holding(op, of.reshape(op.shape(op.output)), op.layout(added))
    if layout.order is not None:
        op.missing("what it adds to has its rows sorted otherwise than the examples")
    shape, width = op.shape(op.output), op.size(op.output, layout)
    own = layout.by_example(torch.arange(op.batch * width).reshape(shape), op.batch).reshape(-1)
    neuron = torch.empty_like(own).index_put((own,), torch.arange(op.batch * width))[places]
    if not bool((neuron // width == example).all()):
        op.crosses("it adds entries of one example to another's")
    indices = [
        listed((neuron[mine] % width).numpy(), numbers.neuron[taken[mine]].numpy(), width)
        for mine in (example == n for n in range(op.batch))
    ]
    if not all(np.array_equal(indices[0], index) for index in indices):
        op.missing("the entries that it adds up differ from example to example")
    return layout, table(indices[0], op.size(added))


def _constant(op: Op, layout: Layout) -> Tensor | None:
    """Return what the result is without its active inputs: [neurons], [batch, neurons] if examples differ, or None."""

    def given(ref: Ref) -> Tensor:
        return torch.zeros_like(op.tensor(ref)) if op.active(ref) else op.tensor(ref)

    rows = layout.by_example(op.replay(given)[0], op.batch).reshape(op.batch, -1)
    if not bool(rows.any()):
        return None
    return rows[0] if bool((rows == rows[:1]).all()) else rows


@op_rule("aten.scatter_reduce")
def entries_reduced(op: Op) -> Placed:
    """Of sums: as `scatter_add`. Of maxima and minima: an index map of the first that wins, x before the others."""
    if op["reduce"] == "sum":
        if not op["include_self"] and op.active(op["self"]):
            op.missing("it leaves out entries of a traced tensor that others are added in place of")
        return entries_added(op)
    if op["reduce"] not in ("amax", "amin"):
        op.missing(f"a reduction by {op['reduce']!r}")
    into, added = op["self"], op["src"]
    if not op.active(added):
        op.missing("what it compares a traced tensor with is constant")
    places, taken = pairs(op, added)
    layout, wiring = wired(op, into, added, places, taken)
    sign = 1 if op["reduce"] == "amax" else -1
    own = sign * layout.by_example(op.tensor(into), op.batch).reshape(op.batch, -1).double().cpu()
    values = sign * op.by_example(added).reshape(op.batch, -1).double().cpu()
    index = torch.from_numpy(wiring.index)
    listed_values = values[:, index.clamp(min=0)].masked_fill(index < 0, -torch.inf)
    if not op["include_self"]:
        own = own.masked_fill((index > -1).any(1), -torch.inf)
    best = torch.from_numpy(listed_values.numpy().argmax(-1))
    won = listed_values.gather(2, best[..., None])[..., 0] > own
    size = own.shape[1] if op.active(into) else 0
    kept = torch.arange(own.shape[1]) if size else torch.tensor(FILL)
    found = torch.where(won, index[torch.arange(len(index)), best] + size, kept)
    inputs = (into.id, added.id) if size else (added.id,)
    neurons = size + wiring.inputs
    return op.place("index", "none", wiring_of(found.numpy(), neurons), layout, inputs=inputs)
