"""Which neurons are none: padding that an op of its own put there, and masked places of a maximum."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.circuit.wiring import Gather

Mask = NDArray[np.bool_]


PADS = frozenset({"aten.constant_pad_nd", "aten.pad", "aten.im2col"})
"""The ops that pad. A zero that any other op puts somewhere (cat, masked_fill, where, a write) is a neuron."""


def void_of(block: Block, rows: Callable[[], Tensor], sizes: tuple[int, ...], known: Mapping[int, Mask]) -> Mask | None:
    """Return which outputs of a block of unit edges are no neurons, None if all are.

    Padding is what an op padded with zeros, and what steps made of it that is still zero: it adds nothing to a sum. A
    constant -inf adds nothing to a maximum, whoever put it there. Any other constant is a neuron that nothing feeds: it
    has its share of denominators, may win a maximum, and what it receives ends there.
    Args: `rows` gives the recorded values, [batch, outputs]; `sizes` the neurons of each input; `known` those found so
    far.
    """
    if block.kind not in ("index", "elementwise"):
        return None
    void = np.concatenate([known.get(i, np.zeros(n, bool)) for i, n in zip(block.inputs, sizes, strict=True)])
    fill = np.zeros(block.wiring.outputs, bool)
    if isinstance(block.wiring, Gather):
        fill = block.wiring.index < 0
        void = np.append(void, block.op in PADS)[block.wiring.index]  # the index -1, fill, finds the last place
    if not (void | fill).any():
        return None
    values = rows()
    nothing, masked = ((values == number).all(0).cpu().numpy() for number in (0, -torch.inf))
    void = (void & nothing) | ((void | fill) & masked)
    return void if void.any() else None
