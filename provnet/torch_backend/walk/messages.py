"""Messages R_{i<-j} of a block, spelled out: for small layers, on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from provnet.circuit.parameters import Use
from provnet.errors import UnsupportedOperationError
from provnet.torch_backend.blocks.scatter import scatter_any
from provnet.torch_backend.blocks.tiling import tiles
from provnet.torch_backend.walk.evaluate import WalkQuestion
from provnet.torch_backend.walk.workspace import Workspace

TILE = 1 << 22
"""Elements of a block's edges that are made at a time, for its biases."""


def block_elements(workspace: Workspace, index: int, job: WalkQuestion, outputs: Tensor, batch: slice) -> Tensor:
    """Return Θ(d) on every slot of chosen outputs of a block, bias last: [batch, outputs, slots, *element].

    The definition, shared by messages and by the valuations of explicit gates. `job.start` gives only the dtype here.
    """
    annotation = workspace.theta(index, job.annotation)
    edges = workspace.prepared(index, job.rule).at(outputs, batch)
    return annotation(edges, job.semiring, job.start.dtype)


def block_messages(workspace: Workspace, index: int, job: WalkQuestion, relevance: Tensor | None) -> Tensor:
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


def weight_relevance(workspace: Workspace, index: int, job: WalkQuestion, relevance: Tensor | None) -> Tensor:
    """Return the ⊕ of the messages that each weight of an affine block carries, [batch, *weight's shape, *element].

    A weight that is used at many places, as a convolution's is, gathers them all; the bias's messages are apart
    (`Evaluation.bias`). `relevance` as for `block_messages`. Memory: the result, and about eight tiles.
    Raises: `UnsupportedOperationError` for a block without weights of its own, or with other weights for each example.
    """
    block, semiring, batch = workspace.circuit.blocks[index], job.semiring, workspace.circuit.batch
    weight = block.shared_weight
    if weight is None:
        raise UnsupportedOperationError(
            f"block {block.path!r} ({block.op}) has no weights that all examples share; ask for its messages instead."
        )
    size, element = weight.values.numel(), semiring.element_shape
    # One more than there are: what is absent is sent there.
    found = semiring.full((batch, size + 1), semiring.zero, job.start)
    if relevance is not None:
        (prepared,) = workspace.prepared(index, job.rule).parts
        theta = workspace.theta(index, job.annotation)
        slots = torch.arange(block.wiring.fan, device=found.device)
        for tile, examples, _ in tiles(prepared):
            outputs = prepared.outputs(tile).reshape(-1)
            elements = theta(prepared.at(outputs, examples), semiring, job.start.dtype).narrow(2, 0, block.wiring.fan)
            messages = semiring.times(elements, relevance[examples][:, outputs].unsqueeze(2))
            _, present, which = block.wiring.source(outputs[:, None], slots)
            at = which if present is True else torch.where(present, which, size)
            scatter_any(semiring, found[examples], at.reshape(-1), messages.flatten(1, 2))
    return found.narrow(1, 0, size).reshape(batch, *weight.values.shape, *element)


def bias_relevance(workspace: Workspace, index: int, job: WalkQuestion, relevance: Tensor | None) -> Tensor:
    """Return the ⊕ of the messages that each bias of an affine block gets, [batch, biases, *element].

    `relevance` as for `block_messages`. Memory: the outputs' elements, bias slots only.
    """
    block, semiring, batch = workspace.circuit.blocks[index], job.semiring, workspace.circuit.batch
    found = semiring.full((batch, block.bias.numel()), semiring.zero, job.start)
    prepared = workspace.prepared(index, job.rule)
    outputs = torch.arange(block.wiring.outputs, device=found.device)
    if relevance is None or prepared.b is None:
        return found
    for some in outputs.split(max(TILE // (batch * max(block.wiring.fan, 1)), 1)):
        elements = block_elements(workspace, index, job, some, slice(0, batch)).select(2, -1)
        scatter_any(semiring, found, block.wiring.bias(some), semiring.times(elements, relevance[:, some]))
    return found


def parameter_relevance(
    workspace: Workspace, uses: Sequence[Use], size: int, job: WalkQuestion, relevance: Mapping[int, Tensor]
) -> Tensor:
    """Return the ⊕ of the messages over all edges that each entry of a parameter stands on, [batch, size, *element].

    uses        the blocks whose weights or biases are entries of it, with the entry that each of them is.
    relevance   of the blocks' outputs, by activation; none where none came.
    Raises: `UnsupportedOperationError` for a rule whose coefficients are no shares, such as the gradient's.
    """
    semiring, batch = job.semiring, workspace.circuit.batch
    found = semiring.full((batch, size + 1), semiring.zero, job.start)
    for use in uses:
        block = workspace.circuit.blocks[use.block]
        branches = [branch for part in workspace.prepared(use.block, job.rule).parts for branch in part.rule.branches]
        if any(not branch.divided for branch in branches):
            raise UnsupportedOperationError(
                f"the rule at {block.path!r} gives derivatives by a layer's input, and a parameter has no share of "
                "them. Take a rule of relevance, or autograd for the derivative by a parameter."
            )
        of = bias_relevance if use.bias else weight_relevance
        came = of(workspace, use.block, job, relevance.get(block.output)).reshape(batch, -1, *semiring.element_shape)
        places = torch.as_tensor(use.places, device=found.device)
        scatter_any(semiring, found, torch.where(places < 0, size, places), came)
    return found.narrow(1, 0, size)
