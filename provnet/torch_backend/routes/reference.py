"""The reference route: the definition itself, tile by tile, with the semiring's own plus and times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from provnet.torch_backend.blocks.prepared import Joined, Prepared, Ready, Sources
from provnet.torch_backend.blocks.scatter import scatter_any, scatter_taps
from provnet.torch_backend.blocks.tiling import tiles
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register
from provnet.torch_backend.routes.side_by_side import fold_together


@register("reference")
class ReferenceRoute(Route):
    """R_j = ⊕_k Θ(d)_jk ⊗ R_k ([GSM25] eq. 3, 7), literally. Memory: about eight tiles and the block's inputs."""

    name = "reference"
    rank = 0
    joins = True

    def fits(self, prepared: Ready, question: BlockQuestion) -> str:
        return "the definition"

    def pull(self, prepared: Ready, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Any]:
        """Return a `Pulled` for each tensor of relevance; of several operands, a tuple of them."""
        if isinstance(prepared, Joined):
            return fold_together(prepared, question, relevance)
        totals = [_Total(prepared, question, r) for r in relevance]
        # Zero annihilates, so outputs to which no relevance came have no say.
        reached = torch.stack([_nonzero(question, r) for r in relevance]).any(0)
        for tile, batch, sources in tiles(prepared, question.tile, reached):
            edges = prepared.tile(tile, batch, sources)
            elements = question.annotation(edges, question.semiring, relevance[0].dtype)
            lost = question.annotation.lost(edges)
            outputs = prepared.outputs(tile)
            for total in totals:
                total.add(elements, lost, outputs, batch, sources)
        return [total.pulled() for total in totals]


def _nonzero(question: BlockQuestion, relevance: Tensor) -> Tensor:
    """Return where relevance is not the semiring's zero, [batch, outputs]."""
    differs = relevance != question.semiring.full((), question.semiring.zero, relevance)
    return differs.flatten(2).any(2) if differs.dim() > 2 else differs


class _Total:
    """The running ⊕ of one question's messages."""

    def __init__(self, prepared: Prepared, question: BlockQuestion, relevance: Tensor) -> None:
        self.prepared, self.semiring, self.relevance = prepared, question.semiring, relevance
        wiring = prepared.block.wiring
        # One neuron more than there are: absent slots are sent there, so that scattering meets no collision.
        self.inputs = self._zeros(wiring.inputs + 1)
        self.bias = None if prepared.b is None else self._zeros()
        self.lost: Tensor | None = None

    def _zeros(self, *shape: int) -> Tensor:
        return self.semiring.full((self.prepared.batch, *shape), self.semiring.zero, self.relevance)

    def add(self, elements: Tensor, lost: Tensor | None, outputs: Tensor, batch: slice, sources: Sources) -> None:
        relevance = self.relevance[batch][:, outputs.reshape(-1)].unflatten(1, outputs.shape)
        if lost is not None:
            self._add_lost(lost, relevance, batch)
        messages = self.semiring.times(elements, relevance.unsqueeze(3))
        if self.bias is not None:
            taken = self.semiring.sum(messages.select(3, -1).flatten(1, 2), 1)
            self.bias[batch] = self.semiring.plus(self.bias[batch], taken)
            messages = messages.narrow(3, 0, messages.shape[3] - 1)
        self._scatter(self.semiring.sum(messages, 2), batch, sources)

    def _add_lost(self, lost: Tensor, relevance: Tensor, batch: slice) -> None:
        if self.lost is None:
            self.lost = self._zeros()
        zero = self.semiring.full((), self.semiring.zero, relevance)
        taken = torch.where(lost[(...,) + (None,) * len(self.semiring.element_shape)], relevance, zero)
        self.lost[batch] = self.semiring.plus(self.lost[batch], self.semiring.sum(taken.flatten(1, 2), 1))

    def _scatter(self, columns: Tensor, batch: slice, sources: Sources) -> None:
        index, present, _ = sources
        wiring = self.prepared.block.wiring
        if present is not None:
            index = torch.where(present, index, wiring.inputs)
        into = self.inputs[batch]
        if wiring.taps is None:
            scatter_any(self.semiring, into, index.reshape(-1), columns.flatten(1, 2))
        else:
            scatter_taps(self.semiring, into, index, columns, wiring.taps)

    def pulled(self) -> Pulled:
        return Pulled(self.inputs.narrow(1, 0, self.prepared.block.wiring.inputs), self.bias, self.lost)
