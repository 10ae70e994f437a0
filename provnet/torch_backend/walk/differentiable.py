"""Evaluation that autograd can differentiate: no kernel that writes in place, no 0/0 in a branch that is thrown away.

Two contractions: the transposed map for sums of products with Θ = d, and for all else the definition on all edges of a
block at once. What is decided (winners of poolings, where d is undefined, the predicted class) is constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, BlockCircuit, Operand
from provnet.circuit.deferred import Deferred, raw
from provnet.errors import LimitError, OptionError
from provnet.rules.quotient import quotient
from provnet.torch_backend.blocks import linear_maps
from provnet.torch_backend.blocks.prepared import Prepared, Ready
from provnet.torch_backend.routes.base import BlockQuestion, Pulled
from provnet.torch_backend.routes.operands import Operands
from provnet.torch_backend.routes.real_route import Transpose, some_overflow

Plain = Callable[[Any], Any]
"""Takes the graph from a tensor, and leaves anything else as it is."""

LIMIT = 1 << 26
"""Edges of a block, all examples together, that are kept for the backward pass: some 80 bytes each in float64."""


def detached(circuit: BlockCircuit) -> BlockCircuit:
    """Return the same circuit with tensors that have no graph: for whatever asks for numbers only."""

    def plain(value: Any) -> Any:
        if isinstance(value, Deferred):
            return Deferred(_numbers, value)
        return value.detach() if isinstance(value, Tensor) else value

    activations = {i: replace(one, handle=plain(one.handle)) for i, one in circuit.activations.items()}
    blocks = tuple(_plain_block(block, plain) for block in circuit.blocks)
    return replace(circuit, activations=activations, blocks=blocks)


def _numbers(late: Deferred) -> Tensor:
    return late.look().detach()


def _plain_block(block: Block, plain: Plain) -> Block:
    """Return a block without graphs, its other forms too."""
    return replace(
        block,
        operands=tuple(_plain_operand(operand, plain) for operand in block.operands),
        bias=plain(block.bias),
        call=None if block.call is None else block.call.with_handles(plain),
        forms={name: _plain_block(form, plain) for name, form in block.forms.items()},
    )


def _plain_operand(operand: Operand, plain: Plain) -> Operand:
    return replace(operand, weight=operand.weight.with_handles(plain), scale=plain(operand.scale))


def wants_graph(ready: Ready, relevance: Sequence[Tensor]) -> bool:
    """Return whether what is pulled through this block is to be differentiated, by torch's own rule."""
    if not torch.is_grad_enabled():
        return False
    held: list[Any] = list(relevance)
    for part in ready.parts:
        w = raw(part, "w")  # asking for a fused weight would make it; denominators have a graph if a, w or b has
        held += [*part.a, *(w.parts if isinstance(w, Deferred) else (w,)), part.b]
    return any(isinstance(t, Tensor) and t.requires_grad for t in held)


def check_differentiable(question: BlockQuestion, path: str, wanted: str) -> None:
    """Raise `OptionError` for a semiring or an annotation function that has no derivative, or a route by name."""
    lacking = None
    if not question.semiring.differentiable:
        lacking = f"the semiring {question.semiring.name or question.semiring!r} has"
    elif not question.annotation.differentiable:
        lacking = f"the annotation function {question.annotation!r} has"
    elif wanted != "auto":
        lacking = f"route={wanted!r} has"
    if lacking is not None:
        raise OptionError(
            f"{lacking} no derivative, and block {path!r} holds tensors that require one. Evaluate inside "
            "torch.no_grad(), which gives the numbers alone, or take real, log or expectation with their own "
            "annotation functions and route='auto'."
        )


def pull_with_graph(ready: Ready, question: BlockQuestion, relevance: Sequence[Tensor]) -> tuple[list[Operands], str]:
    """Return what the block passes back for each tensor of relevance, and why it was found so.

    Raises: `LimitError` where all edges of a large block would have to be kept. Memory: for Θ = d in Real, a few times
    the block's inputs and outputs; else about ten numbers an edge, until the graph is let go.
    """
    # What is made late is made here, with its graph.
    parts = [replace(part, w=part.w, z=part.z) for part in ready.parts]
    with torch.no_grad():
        plain = all(Transpose().fits(part, question) is not None and not some_overflow(part) for part in parts)
    if plain:
        with linear_maps.full_precision():
            found = [tuple(_transposed(part, r) for part in parts) for r in relevance]
        if all(bool(torch.isfinite(one.inputs.sum())) for each in found for one in each):
            return found, "differentiable: Σ d·R is the transposed map of R / z"
    edges = ready.batch * ready.block.wiring.outputs * ready.slots
    if edges > LIMIT:
        raise LimitError(
            f"block {ready.block.path!r} has {edges:,} edges in this batch, above {LIMIT:,}: to differentiate the "
            f"semiring {question.semiring.name!r} all are kept. Trace fewer examples, or take 'real' with its own "
            "annotation function, which keeps none."
        )
    return [_folded(ready, question, r) for r in relevance], "differentiable: the definition, all edges at once"


def _transposed(prepared: Prepared, relevance: Tensor) -> Pulled:
    """R_j = Σ over branches and products of f(a_j) Σ_k g(w_jk) (factor R_k / z'_k)."""
    factors = iter(prepared.a)
    inputs: list[Tensor] = []
    biases: list[Tensor] = []
    for branch, z in zip(prepared.rule.branches, prepared.z, strict=True):
        share = branch.factor * quotient(relevance, z)
        for product in branch.products:
            back = linear_maps.transpose(prepared.block.wiring, share, product.weights(prepared.w))
            assert back is not None, "the route fits wirings with a transpose only"
            inputs.append(next(factors) * back)
            if prepared.b is not None and product.bias:
                biases.append(linear_maps.bias_total(prepared.block.wiring, share, product.biases(prepared.b)))
    return Pulled(sum(inputs[1:], inputs[0]), sum(biases[1:], biases[0]) if biases else None, None)


def _folded(prepared: Ready, question: BlockQuestion, relevance: Tensor) -> Operands:
    """R_j = ⊕_k Θ(d)_jk ⊗ R_k, each neuron's messages gathered and ⊕-ed in one sum."""
    semiring, wiring = question.semiring, prepared.block.wiring
    outputs = torch.arange(wiring.outputs, device=prepared.device)
    edges = prepared.at(outputs, slice(0, prepared.batch))
    elements = question.annotation(edges, semiring, relevance.dtype)
    lost = question.annotation.lost(edges)
    messages = semiring.times(elements, relevance.unsqueeze(2))
    bias = None
    if prepared.b is not None:
        bias = semiring.sum(messages.select(2, -1), 1)
        messages = messages.narrow(2, 0, wiring.fan)
    nothing = semiring.full((prepared.batch, 1), semiring.zero, relevance)
    joined = torch.cat([messages.flatten(1, 2), nothing], 1)
    table = _messages_of(prepared, outputs)
    inputs = semiring.sum(joined.index_select(1, table.reshape(-1)).unflatten(1, table.shape), 2)
    sizes = [part.block.wiring.inputs for part in prepared.parts]
    found = [Pulled(part, None, None) for part in inputs.split(sizes, 1)]
    taken = None if lost is None else _lost(question, lost, relevance)
    return (*found[:-1], replace(found[-1], bias=bias, lost=taken))


def _messages_of(prepared: Ready, outputs: Tensor) -> Tensor:
    """Return for every input the numbers of the messages that reach it, [inputs, most]; the last number is no
    message."""
    wiring = prepared.block.wiring
    slots = torch.arange(wiring.fan, device=prepared.device)
    index, present, _ = wiring.source(outputs[:, None], slots)
    index = torch.broadcast_to(index, (wiring.outputs, wiring.fan)).reshape(-1)
    if present is not True:
        index = torch.where(torch.broadcast_to(present, (wiring.outputs, wiring.fan)).reshape(-1), index, wiring.inputs)
    ordered, order = torch.sort(index, stable=True)
    counts = torch.bincount(ordered, minlength=wiring.inputs + 1)
    rank = torch.arange(len(ordered), device=prepared.device) - (counts.cumsum(0) - counts)[ordered]
    reached = ordered < wiring.inputs
    most = int(counts[: wiring.inputs].max()) if wiring.inputs else 0
    table = torch.full((wiring.inputs, max(most, 1)), len(index), device=prepared.device)
    table[ordered[reached], rank[reached]] = order[reached]
    return table


def _lost(question: BlockQuestion, lost: Tensor, relevance: Tensor) -> Tensor | None:
    """Return the ⊕ of the relevance of outputs that lose all of it."""
    semiring = question.semiring
    zero = semiring.full((), semiring.zero, relevance)
    return semiring.sum(torch.where(lost[(...,) + (None,) * len(semiring.element_shape)], relevance, zero), 1)
