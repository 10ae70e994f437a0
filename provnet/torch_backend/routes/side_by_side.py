"""The reference route of blocks with several operands: the definition, with the slots of all operands side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.torch_backend.blocks.prepared import Joined, Prepared
from provnet.torch_backend.blocks.scatter import scatter_any, scatter_taps
from provnet.torch_backend.blocks.tiling import TILE
from provnet.torch_backend.routes.base import BlockQuestion, Pulled


def fold_together(joined: Joined, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[tuple[Pulled, ...]]:
    """Return R_j = ⊕_k Θ(d)_jk ⊗ R_k of every operand's neurons j. Memory: about eight tiles and the inputs."""
    totals = [_Totals(joined, question, r) for r in relevance]
    outputs = torch.arange(joined.block.wiring.outputs, device=joined.device)
    budget = question.tile or TILE.get(joined.device.type, TILE["cpu"])
    step = max(budget // max(joined.slots, 1), 1)
    for some in outputs.split(step):
        examples = max(step // max(len(some), 1), 1)
        for first in range(0, joined.batch, examples):
            batch = slice(first, min(first + examples, joined.batch))
            edges = joined.at(some, batch)
            elements = question.annotation(edges, question.semiring, relevance[0].dtype)
            lost = question.annotation.lost(edges)
            for total in totals:
                total.add(elements, lost, some, batch)
    return [total.pulled() for total in totals]


class _Totals:
    """The running ⊕ of one question's messages, operand by operand."""

    def __init__(self, joined: Joined, question: BlockQuestion, relevance: Tensor) -> None:
        self.joined, self.semiring, self.relevance = joined, question.semiring, relevance
        # One neuron more than there are: absent slots are sent there, so that scattering meets no collision.
        self.inputs = [self._zeros(part.block.wiring.inputs + 1) for part in joined.parts]
        self.bias = None if joined.b is None else self._zeros()
        self.lost: Tensor | None = None

    def _zeros(self, *shape: int) -> Tensor:
        return self.semiring.full((self.joined.batch, *shape), self.semiring.zero, self.relevance)

    def add(self, elements: Tensor, lost: Tensor | None, outputs: Tensor, batch: slice) -> None:
        """Fold the messages of some outputs in. `elements` [batch, n, slots, *element]."""
        semiring, relevance = self.semiring, self.relevance[batch][:, outputs]
        if lost is not None:
            self.lost = self._zeros() if self.lost is None else self.lost
            zero = semiring.full((), semiring.zero, relevance)
            mask = lost[(...,) + (None,) * len(semiring.element_shape)]
            taken = semiring.sum(torch.where(mask, relevance, zero), 1)
            self.lost[batch] = semiring.plus(self.lost[batch], taken)
        messages = semiring.times(elements, relevance.unsqueeze(2))
        start = 0
        for part, into in zip(self.joined.parts, self.inputs, strict=True):
            fan = part.block.wiring.fan
            self._scatter(part, into[batch], outputs, messages.narrow(2, start, fan))
            start += fan
        if self.bias is not None:
            self.bias[batch] = semiring.plus(self.bias[batch], semiring.sum(messages.select(2, -1), 1))

    def _scatter(self, part: Prepared, into: Tensor, outputs: Tensor, messages: Tensor) -> None:
        wiring = part.block.wiring
        index, present, _ = wiring.source(outputs[:, None], torch.arange(wiring.fan, device=outputs.device))
        if present is not True:
            index = torch.where(present, index, wiring.inputs)
        # Taps are promised to be distinct over positions; the channels of one position share their sources.
        if wiring.taps is None or wiring.channels > 1:
            scatter_any(self.semiring, into, index.reshape(-1), messages.flatten(1, 2))
        else:
            scatter_taps(self.semiring, into, index, messages, wiring.taps)

    def pulled(self) -> tuple[Pulled, ...]:
        """Return what each operand gets; the last one tells what the bias took and what was lost."""
        parts = zip(self.joined.parts, self.inputs, strict=True)
        found = [Pulled(into.narrow(1, 0, part.block.wiring.inputs), None, None) for part, into in parts]
        return (*found[:-1], Pulled(found[-1].inputs, self.bias, self.lost))
