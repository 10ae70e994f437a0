"""Messages R_{i<-j} of a block, spelled out: for small layers, on request."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.torch_backend.evaluate import Job
from provnet.torch_backend.workspace import Workspace


def block_elements(workspace: Workspace, index: int, job: Job, outputs: Tensor, batch: slice) -> Tensor:
    """Return Θ(d) on every slot of chosen outputs of a block, bias last: [batch, outputs, slots, *element].

    The definition, shared by messages and by the valuations of explicit gates. `job.start` gives only the dtype here.
    """
    annotation = workspace.theta(index, job.rule, job.policy, job.annotation)
    edges = workspace.prepared(index, job.rule, job.policy).at(outputs, batch)
    return annotation(edges, job.semiring, job.start.dtype)


def block_messages(workspace: Workspace, index: int, job: Job, relevance: Tensor | None) -> Tensor:
    """Return the block's messages ([GSM25] eq. 6), [batch, outputs, inputs (+ 1 if there is a bias), *element].

    `relevance` of the block's output, [batch, outputs, *element]; None: none came. Memory: that of the result, twice.
    """
    block, semiring = workspace.circuit.blocks[index], job.semiring
    wiring = block.wiring
    everything = slice(0, workspace.circuit.batch)
    outputs = torch.arange(wiring.outputs, device=job.start.device)
    elements = block_elements(workspace, index, job, outputs, everything)
    if relevance is None:
        relevance = semiring.full((len(elements), wiring.outputs), semiring.zero, elements)
    messages = semiring.times(elements, relevance.unsqueeze(2))
    biased = elements.shape[2] - wiring.fan
    found = semiring.full((len(elements), wiring.outputs, wiring.inputs + biased), semiring.zero, elements)
    source, present, _ = wiring.source(outputs[:, None], torch.arange(wiring.fan, device=outputs.device))
    rows, slots = torch.broadcast_tensors(outputs[:, None], torch.arange(wiring.fan, device=outputs.device))
    here = torch.ones_like(source, dtype=torch.bool) if present is True else present
    found[:, rows[here], source[here]] = messages[:, rows[here], slots[here]]
    if biased:
        found[:, :, -1] = messages[:, :, -1]
    return found
