"""Pull relevance through unit edges: index maps and one-to-one steps. Nothing is multiplied, nothing counted."""

from __future__ import annotations

from functools import partial, singledispatch

import torch
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.circuit.einsums import Einsum
from provnet.circuit.wiring import GatherByExample, OneToOne, Part, Wiring
from provnet.errors import UnsupportedOperationError
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.scatter import scatter_any


def pull_units(block: Block, semiring: Semiring, relevance: Tensor) -> list[Tensor]:
    """Return R_j = ⊕ of R_k over the unit edges j -> k of every operand: [batch, inputs, *element] each.

    Outputs without a source drop theirs. Raises: `UnsupportedOperationError` for a wiring that is no index map.
    """
    for operand in block.operands:
        if operand.wiring.fan != 1:
            raise UnsupportedOperationError(
                f"block {block.path!r} ({block.op}) of kind {block.kind!r} has the wiring "
                f"{type(operand.wiring).__name__}, with {operand.wiring.fan} slots a neuron. An op rule for unit edges "
                "must give OneToOne, Gather, GatherByExample or Part."
            )
    return [_pull(operand.wiring, semiring, relevance) for operand in block.operands]


@singledispatch
def _pull(wiring: Wiring, semiring: Semiring, relevance: Tensor) -> Tensor:
    index = _index(wiring, relevance.device)
    into = semiring.full((len(relevance), wiring.inputs + 1), semiring.zero, relevance)
    index = torch.where(index < 0, wiring.inputs, index)
    if wiring.taps == 1:  # no input is used twice
        reached = index < wiring.inputs
        into.index_copy_(1, index[reached], relevance[:, reached])
    else:
        scatter_any(semiring, into, index, relevance)
    return into.narrow(1, 0, wiring.inputs)


@_pull.register
def _(wiring: OneToOne, semiring: Semiring, relevance: Tensor) -> Tensor:
    return relevance


@_pull.register
def _(wiring: Part, semiring: Semiring, relevance: Tensor) -> Tensor:
    rows = relevance.unflatten(1, (-1, wiring.width)).narrow(2, wiring.first, wiring.size)
    return rows.flatten(1, 2)


@_pull.register
def _(wiring: Einsum, semiring: Semiring, relevance: Tensor) -> Tensor:
    """Return relevance at the outputs of a permutation or a repetition at its inputs: axes move, repeated ones are
    ⊕-ed."""
    labels = wiring.output_labels
    rows = relevance.unflatten(1, [wiring.size[label] for label in labels] or [1])
    for label in [label for label in labels if label not in wiring.input]:
        rows, labels = semiring.sum(rows, 1 + labels.index(label)), labels.replace(label, "")
    order = [1 + labels.index(label) for label in wiring.input]
    behind = range(1 + len(labels), rows.dim())
    if not labels:
        return rows.reshape(len(relevance), 1, *semiring.element_shape)
    return rows.permute(0, *order, *behind).flatten(1, len(labels))


@_pull.register
def _(wiring: GatherByExample, semiring: Semiring, relevance: Tensor) -> Tensor:
    """The same where each example has a table of its own: all examples' neurons are numbered through, as one's."""
    batch, size = len(relevance), wiring.inputs
    index = torch.as_tensor(wiring.index, device=relevance.device)
    first = torch.arange(batch, device=relevance.device)[:, None] * size
    index = torch.where(index < 0, batch * size, index + first).reshape(-1)
    into = semiring.full((1, batch * size + 1), semiring.zero, relevance)
    arriving = relevance.flatten(0, 1).unsqueeze(0)
    if wiring.taps == 1:
        reached = index < batch * size
        into.index_copy_(1, index[reached], arriving[:, reached])
    else:
        scatter_any(semiring, into, index, arriving)
    return into.narrow(1, 0, batch * size).reshape(batch, size, *semiring.element_shape)


def as_tensors(wiring: Wiring, device: torch.device) -> Wiring:
    """Return a wiring whose look-ups take tensors on a device: the tables of a `Gather` are numpy's."""
    return wiring.with_tables(partial(torch.as_tensor, device=device))


def _index(wiring: Wiring, device: torch.device) -> Tensor:
    """Return the input of every output, -1 where there is none: [outputs], or [batch, outputs] where examples
    differ."""
    return as_tensors(wiring, device).feeding(torch.arange(wiring.outputs, device=device))


def ends_in_constants(block: Block, semiring: Semiring, relevance: Tensor) -> Tensor | None:
    """Return the ⊕ of the relevance of outputs that no input feeds, [batch, *element]; None if there are none."""
    fill = constants_of(block, relevance.device)
    if fill is None:
        return None
    if fill.dim() == 1:
        return semiring.sum(relevance[:, fill], 1)
    zero = semiring.full((), semiring.zero, relevance)
    return semiring.sum(torch.where(fill[(...,) + (None,) * len(semiring.element_shape)], relevance, zero), 1)


def has_constants(block: Block) -> bool:
    """Return whether some outputs of a block of unit edges are constants: no input feeds them."""
    return constants_of(block, torch.device("cpu")) is not None


def constants_of(block: Block, device: torch.device) -> Tensor | None:
    """Return which outputs of a block of unit edges no input feeds, [outputs], or [batch, outputs] where examples
    differ; None if there are none."""
    if any(operand.wiring.feeds_all for operand in block.operands):
        return None
    fed = torch.zeros(block.wiring.outputs, dtype=torch.bool, device=device)
    for operand in block.operands:
        fed = fed | (_index(operand.wiring, device) >= 0)
    return None if bool(fed.all()) else ~fed
