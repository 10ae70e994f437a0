"""The sweep from the inputs to the target: what the paths up to a neuron are worth. With relevance,
marginals of edges."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from provnet.circuit.wiring import Wiring
from provnet.semirings.base import Semiring
from provnet.torch_backend.walk.evaluate import WalkQuestion
from provnet.torch_backend.walk.messages import block_elements
from provnet.torch_backend.walk.unit_edges import as_tensors
from provnet.torch_backend.walk.workspace import Workspace

TILE = 1 << 22
"""Edges whose elements are made at a time."""


def sweep_forward(workspace: Workspace, job: WalkQuestion, start: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Return F of every activation, [batch, neurons, *element]: the ⊕ over all paths from the start neurons to a
    neuron.

    F_j is `start` where it is given, and F_k = ⊕_j Θ(d)_jk ⊗ F_j further on: the transpose of the recursion of
    relevance, with the same elements. F_j ⊗ R_j is then the value of all paths through neuron j, F_j ⊗ Θ(d)_jk ⊗ R_k
    of those through an edge, by distributivity (for commuting ⊗). Biases are no start: they send nothing further down.
    Every edge is looked at once, in tiles: as slow as the reference route. Source: the forward algorithm, Goodman 1999.
    """
    found = dict(start)
    circuit, semiring = workspace.circuit, job.semiring
    for index, block in enumerate(circuit.blocks):
        parts = [
            found[i]
            if i in found
            else semiring.full((circuit.batch, circuit.activations[i].size), semiring.zero, job.start)
            for i in block.inputs
        ]
        before = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        found[block.output] = push_block(workspace, index, job, before)
    return found


def push_block(workspace: Workspace, index: int, job: WalkQuestion, before: Tensor) -> Tensor:
    """Return ⊕_j Θ(d)_jk ⊗ F_j for every output k of a block: [batch, outputs, *element]."""
    wiring = workspace.circuit.blocks[index].wiring
    outputs = torch.arange(wiring.outputs, device=before.device)
    step = max(TILE // (wiring.fan * workspace.circuit.batch), 1)
    parts = [job.semiring.sum(edge_values(workspace, index, job, some, before), 2) for some in outputs.split(step)]
    return torch.cat(parts, 1)


def edge_values(workspace: Workspace, index: int, job: WalkQuestion, outputs: Tensor, before: Tensor) -> Tensor:
    """Return Θ(d)_jk ⊗ F_j on every slot of some outputs of a block, zero on absent ones:
    [batch, outputs, fan, *element]."""
    block, semiring = workspace.circuit.blocks[index], job.semiring
    wiring = block.wiring
    slots = torch.arange(wiring.fan, device=outputs.device)
    if wiring.by_example:
        looked_up = [_arriving(wiring.of_example(n), outputs, slots, row) for n, row in enumerate(before.split(1))]
        arriving, present = (torch.cat(parts) for parts in zip(*looked_up, strict=True))
    else:
        arriving, present = _arriving(wiring, outputs, slots, before)
    if block.has_coefficients:
        elements = block_elements(workspace, index, job, outputs, slice(0, workspace.circuit.batch))
        return semiring.times(elements[:, :, : wiring.fan], arriving)
    edges = workspace.unit_edges(index, job.rule)
    if edges is not None:
        elements = job.annotation.at(block.path)(edges, semiring, before.dtype)
        arriving = semiring.times(elements.index_select(1, outputs), arriving)
    return masked(semiring, arriving, present)


def _arriving(wiring: Wiring, outputs: Tensor, slots: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Return what stands at the sources of some outputs' slots, and which are present, [1, outputs, slots]."""
    source, present, _ = as_tensors(wiring, outputs.device).source(outputs[:, None], slots)
    shape = (len(outputs), len(slots))
    source, present = (torch.as_tensor(part, device=outputs.device).broadcast_to(shape) for part in (source, present))
    return before[:, source], present[None]


def masked(semiring: Semiring, elements: Tensor, present: Tensor) -> Tensor:
    """Return [batch, outputs, slots, *element] with zero where `present` [1 or batch, outputs, slots] is not."""
    mask = present[(...,) + (None,) * len(semiring.element_shape)]
    return torch.where(mask, elements, semiring.full((), semiring.zero, elements))


def block_marginals(workspace: Workspace, index: int, job: WalkQuestion, before: Tensor, relevance: Tensor) -> Tensor:
    """Return F_j ⊗ Θ(d)_jk ⊗ R_k on every slot of a block: [batch, outputs, fan, *element]. Memory: that, three times.

    Args: `before`, F of the block's inputs one after another; `relevance`, R of its output.
    """
    outputs = torch.arange(workspace.circuit.blocks[index].wiring.outputs, device=before.device)
    return job.semiring.times(edge_values(workspace, index, job, outputs, before), relevance.unsqueeze(2))
