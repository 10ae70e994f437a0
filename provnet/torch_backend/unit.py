"""Pull relevance through unit edges: index maps and one-to-one steps. Nothing is multiplied, nothing counted."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.circuit.wiring import Gather
from provnet.errors import UnsupportedOperationError
from provnet.semirings.base import Semiring
from provnet.torch_backend.scatter import scatter_any


def pull_units(block: Block, semiring: Semiring, relevance: Tensor) -> Tensor:
    """Return R_j = ⊕ of R_k over the unit edges j -> k: [batch, inputs, *element]. Outputs without a source drop
    theirs."""
    wiring = block.wiring
    if not isinstance(wiring, Gather):
        if wiring.inputs != wiring.outputs or wiring.fan != 1:
            raise UnsupportedOperationError(
                f"block {block.path!r} ({block.op}) of kind {block.kind!r} has the wiring "
                f"{type(wiring).__name__}, which is "
                "not one to one. An op rule for unit edges must give OneToOne or Gather."
            )
        return relevance
    index = torch.as_tensor(wiring.index, device=relevance.device)
    into = semiring.full((len(relevance), wiring.inputs + 1), semiring.zero, relevance)
    index = torch.where(index < 0, wiring.inputs, index)
    if wiring.taps == 1:  # no input is used twice
        into.index_copy_(1, index, relevance)
    else:
        scatter_any(semiring, into, index, relevance)
    return into.narrow(1, 0, wiring.inputs)


def ends_in_constants(block: Block, semiring: Semiring, relevance: Tensor) -> Tensor | None:
    """Return the ⊕ of the relevance of outputs that no input feeds, [batch, *element]; None if there are none."""
    if not has_constants(block):
        return None
    fill = torch.as_tensor(block.wiring.index < 0, device=relevance.device)  # type: ignore[attr-defined]
    return semiring.sum(relevance[:, fill], 1)


def has_constants(block: Block) -> bool:
    """Return whether some outputs of a block of unit edges are constants: no input feeds them."""
    return isinstance(block.wiring, Gather) and bool((block.wiring.index < 0).any())
