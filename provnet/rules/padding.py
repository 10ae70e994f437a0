"""Which entries are padding and no neurons: what an op put around its input, and what a softmax or maximum masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.circuit.wiring import Wiring

Mask = NDArray[np.bool_]


PADS = frozenset({"aten.constant_pad_nd", "aten.pad", "aten.im2col", "provnet.gathered"})
"""The ops that pad. A zero that any other op puts somewhere (cat, masked_fill, where, a write) is a neuron."""

ADDS = frozenset({"aten.add", "aten.sub", "aten.rsub"})
"""The ops that may mask scores by adding a constant."""


def padding_of(block: Block, rows: Callable[[], Tensor], known: Mapping[int, Mask]) -> Mask | None:
    """Return which outputs of a block are padding, [outputs], or [batch, outputs] where examples differ in it; None if
    none is.

    Padding is what an op padded with zeros, and what steps made of it that is still zero: it adds nothing to a sum. A
    constant -inf, or the least finite number in its place, adds nothing to a maximum or a softmax, whoever put it
    there, and so does a score to which it was added. Any other constant is a neuron that nothing feeds: it has its
    share of denominators, may win a maximum, and what it receives ends there.
    Args: `rows` gives the recorded values, [batch, outputs]; `known` those found so far.
    """
    if block.kind in ("index", "elementwise"):
        return _of_unit_edges(block, rows, known)
    if block.op in ADDS and (_masks(block.bias) or any(i in known for i in block.inputs)):
        return _compact(masked(rows()))
    return None


def _of_unit_edges(block: Block, rows: Callable[[], Tensor], known: Mapping[int, Mask]) -> Mask | None:
    outputs = block.wiring.outputs if not block.wiring.by_example else block.operands[0].wiring.outputs
    padding, fed = np.zeros((1, outputs), bool), np.zeros((1, outputs), bool)
    for operand in block.operands:
        before = np.atleast_2d(known[operand.input]) if operand.input in known else None
        if operand.wiring.identity:
            padding = padding if before is None else padding | before
            fed = np.ones_like(fed)
            continue
        index = _table(operand.wiring)
        fed = fed | (index >= 0)
        if before is not None:
            examples = np.arange(max(len(before), len(index)))[:, None]
            rows_of = (examples if len(before) > 1 else 0 * examples), np.where(index < 0, 0, index)
            padding = padding | ((index >= 0) & before[rows_of])
    fill = ~fed
    if block.op in PADS:
        padding = padding | fill
    if not (padding | fill).any():
        return None
    values = rows()
    nothing, low = (values == 0).cpu().numpy(), masked(values).cpu().numpy()
    return _compact((padding & nothing) | ((padding | fill) & low))


def _table(wiring: Wiring) -> NDArray[np.int64]:
    """Return the input of every output of unit edges, -1 where there is none: [1 or batch, outputs]."""
    return np.atleast_2d(wiring.feeding(np.arange(wiring.outputs)))


def masked(values: Tensor) -> Tensor:
    """Return where scores are masked: -inf, or about the least finite number of their dtype."""
    return values <= torch.finfo(values.dtype).min / 2


def _masks(bias: object) -> bool:
    """Return whether a constant that is added masks some of the scores."""
    return isinstance(bias, Tensor) and bias.is_floating_point() and bool(masked(bias).any())


def _compact(padding: Mask | Tensor) -> Mask | None:
    """Return a mask [batch, outputs] as [outputs] if all examples agree, None if nothing is masked."""
    padding = padding.cpu().numpy() if isinstance(padding, Tensor) else padding
    if not padding.any():
        return None
    return padding[0] if (padding == padding[:1]).all() else padding
