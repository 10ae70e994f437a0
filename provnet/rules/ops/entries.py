"""Which entry of the inputs each entry of a result is: told by running the op on numbers, or by a view's strides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from provnet.capture.execution import Ref
from provnet.rules.ops.arguments import references
from provnet.rules.ops.base import Op

FILL = -1
"""The number of what is no entry of an input."""


@dataclass(frozen=True, eq=False)
class Numbering:
    """All entries of an op's active inputs are numbered through; entry n is neuron `neuron[n]` of example `example[n]`.

    Neurons are counted over the concatenation of the inputs, example by example. The last place of both stands for
    fill.
    """

    tensors: dict[int, Tensor]
    neuron: Tensor
    example: Tensor
    entries: int


def numbering(op: Op, inputs: tuple[int, ...]) -> Numbering:
    """Return the numbers of the inputs' entries, as float64 tensors of the inputs' shapes: exact up to 2**53."""
    entries = sum(op.tensor(i).numel() for i in inputs)
    neuron, example = torch.full((entries + 1,), FILL), torch.full((entries + 1,), FILL)
    tensors, first, offset = {}, 0, 0
    for i in inputs:
        count = op.tensor(i).numel()
        numbers = torch.arange(first, first + count).reshape(op.shape(i))
        rows = op.layout(i).numbers_by_example(numbers, op.batch, FILL)
        own = rows > FILL
        neuron[rows[own]] = torch.arange(offset, offset + rows.shape[1]).expand(op.batch, -1)[own]
        example[rows[own]] = torch.arange(op.batch)[:, None].expand_as(rows)[own]
        tensors[i] = numbers.to(torch.float64)
        first, offset = first + count, offset + rows.shape[1]
    return Numbering(tensors, neuron, example, entries)


def origins(op: Op, numbers: Numbering) -> list[Tensor | None]:
    """Return for each result which entry each of its entries is, -1 for fill; None for results that are no tensors."""

    def given(change: Callable[[Tensor], Tensor]) -> Callable[[Ref], Tensor]:
        def give(ref: Ref) -> Tensor:
            if ref.id in numbers.tensors:
                return change(numbers.tensors[ref.id])
            fixed = op.tensor(ref).cpu()
            return fixed.to(torch.float64) if fixed.is_floating_point() else fixed.clone()

        return give

    found: list[Tensor | None] = []
    for plain, turned in zip(op.replay(given(lambda n: n)), op.replay(given(_turned)), strict=True):
        if not isinstance(plain, Tensor) or plain.dtype != torch.float64:
            found.append(None)
            continue
        still = (turned == plain) | (turned.isnan() & plain.isnan())
        moved = ~still & (turned == _turned(plain))
        if not bool((moved | still).all()):
            op.missing("it was taken for an index map, but it computes new numbers, or chooses by value")
        found.append(torch.where(moved, plain, torch.full_like(plain, FILL)).to(torch.int64))
    return found


def _turned(numbers: Tensor) -> Tensor:
    """Return other numbers in the opposite order: what is added to a number, or chosen by its size, does not follow."""
    return -numbers - 1


@dataclass(frozen=True, eq=False)
class Entries:
    """Of each entry of a result: its number among the inputs' entries, its neuron and its example; -1: it is fill."""

    origin: Tensor
    neuron: Tensor
    example: Tensor


def entries_of(op: Op, inputs: tuple[int, ...], view: bool) -> list[Entries | None]:
    """Return what the entries of each result are, None of results that are no tensors."""
    if not view:
        numbers = numbering(op, inputs)
        found = origins(op, numbers)
        return [None if o is None else Entries(o, numbers.neuron[o], numbers.example[o]) for o in found]
    # A view says by its offset and strides what it shows: nothing of the input's size is made.
    empty = torch.empty(op.shape(inputs[0]), device="meta")
    results = op.replay(lambda _: empty)
    return [_of_view(op, inputs[0], one) if isinstance(one, Tensor) else None for one in results]


def _of_view(op: Op, source: int, view: Tensor) -> Entries:
    """Return what a view of a contiguous tensor like `source` shows."""
    origin = torch.full((), int(view.storage_offset()))
    for size, step in zip(view.shape, view.stride(), strict=True):
        origin = origin.unsqueeze(-1) + torch.arange(size) * step
    layout, shape = op.layout(source), op.shape(source)
    if not shape:
        return Entries(origin, torch.zeros_like(origin), torch.zeros_like(origin))
    behind, along = prod(shape[layout.axis + 1 :]), shape[layout.axis]
    before, at = origin // (behind * along), origin // behind % along
    outer, inner = at // (layout.inner * op.batch), at % layout.inner
    neuron = ((before * layout.outer + outer) * layout.inner + inner) * behind + origin % behind
    return Entries(origin, neuron, at // layout.inner % op.batch)


def called(op: Op) -> Any:
    """Return what an op's index map depends on: the function, and its arguments, of which one is a tensor.

    None: it has several, which may be indices, or is no op of torch.
    """
    tensors = references((op.traced.args, op.traced.kwargs))
    if len(tensors) != 1 or not isinstance(op.traced.func, OpOverload):
        return None
    (source,) = tensors
    if op.layout(source).order is not None:  # its examples lie in no order that a formula says
        return None
    tensor = op.tensor(source)
    given = repr((op.traced.args, dict(op.traced.kwargs))).replace(repr(source), "tensor")
    return op.traced.func, given, tuple(tensor.shape), tensor.stride(), op.layout(source)
