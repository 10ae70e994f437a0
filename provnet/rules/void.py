"""Which neurons are none: padding that was written out as zeros (or as -inf, before a maximum)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.circuit.wiring import Gather

Mask = NDArray[np.bool_]


def void_of(block: Block, rows: Callable[[], Tensor], sizes: tuple[int, ...], known: Mapping[int, Mask]) -> Mask | None:
    """Return which outputs of a block of unit edges are no neurons, None if all are.

    Nothing feeds such an output, or only such inputs do, and its value adds nothing to a sum (0) or to a maximum
    (-inf). A constant of another value is a neuron: it has a share of denominators, and what it receives ends there.
    Args: `rows` gives the recorded values, [batch, outputs]; `sizes` the neurons of each input; `known` those found so
    far.
    """
    if block.kind not in ("index", "elementwise"):
        return None
    void = np.concatenate([known.get(i, np.zeros(n, bool)) for i, n in zip(block.inputs, sizes, strict=True)])
    if isinstance(block.wiring, Gather):
        void = np.append(void, True)[block.wiring.index]  # the index -1, fill, finds the last place
    if not void.any():
        return None
    values = rows()
    nothing = ((values == 0) | (values == -torch.inf)).all(0).cpu().numpy()
    void = void & nothing
    return void if void.any() else None
