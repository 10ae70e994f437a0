"""The definition where every neuron has one edge an operand, to the neuron in its own place: nothing is folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.wiring import Wiring
from provnet.rules.lrp.base import Terms
from provnet.torch_backend.blocks.prepared import Prepared, Ready, side_by_side
from provnet.torch_backend.blocks.tiling import TILE
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register


@register("one-to-one")
class OneToOneEdges(Route):
    """R_k ⊗ Θ(d)_kk for every operand: sums of tensors, gates, batch norms. Any semiring, rule and Θ, to the bit.

    Memory: some ten pieces of a tile's size, and the block's inputs.
    """

    name = "one-to-one"
    rank = 60
    joins = True

    def fits(self, prepared: Ready, question: BlockQuestion) -> str | None:
        if prepared.selects or not all(part.block.wiring.in_place for part in prepared.parts):
            return None
        return "each neuron feeds the one in its own place: nothing is folded"

    def pull(self, prepared: Ready, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Any]:
        """Return a `Pulled` for each tensor of relevance; of several operands, a tuple of them."""
        found = [_pull(prepared, question, r) for r in relevance]
        return found if len(prepared.parts) > 1 else [one[0] for one in found]


def _pull(ready: Ready, question: BlockQuestion, relevance: Tensor) -> tuple[Pulled, ...]:
    semiring, size = question.semiring, ready.block.wiring.outputs
    zero = semiring.full((), semiring.zero, relevance)
    inputs = [torch.empty_like(relevance, memory_format=torch.contiguous_format) for _ in ready.parts]
    bias = None if ready.b is None else semiring.full((ready.batch,), semiring.zero, relevance)
    lost: Tensor | None = None
    budget = question.tile or TILE.get(ready.device.type, TILE["cpu"])
    step = max(budget // (max(ready.batch, 1) * ready.slots), 1)
    for first in range(0, size, step):
        some = slice(first, min(first + step, size))
        came = relevance[:, some]
        edges = ready.rule.coefficients(side_by_side([_terms(part, some) for part in ready.parts]))
        elements = question.annotation(edges, semiring, relevance.dtype)
        for number, into in enumerate(inputs):
            into[:, some] = semiring.times(elements.select(2, number), came)
        if bias is not None:
            bias = semiring.plus(bias, semiring.sum(semiring.times(elements.select(2, len(inputs)), came), 1))
        silent = question.annotation.lost(edges)
        if silent is not None:
            mask = silent[(...,) + (None,) * len(semiring.element_shape)]
            taken = semiring.sum(torch.where(mask, came, zero), 1)
            lost = taken if lost is None else semiring.plus(lost, taken)
    found = [Pulled(into, None, None) for into in inputs]
    return (*found[:-1], Pulled(inputs[-1], bias, lost))


def _terms(part: Prepared, some: slice) -> Terms:
    """Return what the edges of some outputs are computed from: [batch, n, 1], with the bias's slot behind."""
    wiring = part.block.wiring
    b = None if part.b is None else _along(wiring, part.b, some, part.device)
    present: Tensor | None = None
    if part.padding is not None:
        present = ~_rows(part.padding)[:, some]
    if part.weight_padding is not None:
        filled = ~_along(wiring, part.weight_padding, some, part.device)
        present = filled if present is None else present & filled
    if present is not None:
        present = present.unsqueeze(2)
        present = present if b is None else torch.cat([present, torch.ones_like(present)], 2)
    w = None if part.w is None else _along(wiring, part.w, some, part.device).unsqueeze(2)
    return Terms(tuple(a[:, some].unsqueeze(2) for a in part.a), w, b, present, tuple(z[:, some] for z in part.z))


def _along(wiring: Wiring, values: Tensor, some: slice, device: torch.device) -> Tensor:
    """Return what stands at the weights, or biases, of some outputs, [1 or batch, n]: both have one index here."""
    held = _rows(values)
    if held.shape[1] == wiring.outputs:
        return held[:, some]
    return held[:, wiring.bias(torch.arange(some.start, some.stop, device=device))]


def _rows(values: Tensor) -> Tensor:
    """Return numbers of all examples, or of each, with an axis of examples."""
    return values[None] if values.dim() == 1 else values
