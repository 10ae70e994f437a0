"""Which neurons are none: padding that an op of its own put there, and masked places of a maximum."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.circuit.wiring import OneToOne

Mask = NDArray[np.bool_]


PADS = frozenset({"aten.constant_pad_nd", "aten.pad", "aten.im2col"})
"""The ops that pad. A zero that any other op puts somewhere (cat, masked_fill, where, a write) is a neuron."""


def void_of(block: Block, rows: Callable[[], Tensor], known: Mapping[int, Mask]) -> Mask | None:
    """Return which outputs of a block of unit edges are no neurons, None if all are.

    Padding is what an op padded with zeros, and what steps made of it that is still zero: it adds nothing to a sum. A
    constant -inf adds nothing to a maximum, whoever put it there. Any other constant is a neuron that nothing feeds: it
    has its share of denominators, may win a maximum, and what it receives ends there.
    Args: `rows` gives the recorded values, [batch, outputs]; `known` those found so far.
    """
    if block.kind not in ("index", "elementwise"):
        return None
    void, fed = np.zeros(block.wiring.outputs, bool), np.zeros(block.wiring.outputs, bool)
    for operand in block.operands:
        if isinstance(operand.wiring, OneToOne):
            void |= known.get(operand.input, np.zeros(len(void), bool))
            fed[:] = True
            continue
        index, present, _ = operand.wiring.source(np.arange(len(void)), np.zeros(1, np.int64))
        present = np.broadcast_to(present, index.shape)
        fed |= present
        if operand.input in known:
            void |= present & known[operand.input][index]
    fill = ~fed
    if block.op in PADS:
        void |= fill
    if not (void | fill).any():
        return None
    values = rows()
    nothing, masked = ((values == number).all(0).cpu().numpy() for number in (0, -torch.inf))
    void = (void & nothing) | ((void | fill) & masked)
    return void if void.any() else None
