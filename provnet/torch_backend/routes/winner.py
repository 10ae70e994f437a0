"""Max pooling that passes all to the winner: one edge an output, so nothing is folded over windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.rules.lrp.base import Edges
from provnet.torch_backend.prepared import Prepared
from provnet.torch_backend.routes.base import Pulled, Question, Route, register
from provnet.torch_backend.scatter import scatter_any


@register("winner")
class Winner(Route):
    """R_j = ⊕ over the outputs k that j wins of Θ ⊗ R_k, in any semiring; losers are absent. Memory: the block's
    inputs."""

    name = "winner"
    rank = 100

    def fits(self, prepared: Prepared, question: Question) -> str | None:
        # Where some neurons are none, a window may hold no neuron at all, and its first slot must not win.
        if prepared.winner is None or prepared.void is not None:
            return None
        return "losers are absent: each output has one edge"

    def pull(self, prepared: Prepared, question: Question, relevance: Sequence[Tensor]) -> list[Pulled]:
        elements = _by_slot(prepared, question, relevance[0])
        return [_pull(prepared, question, elements, r) for r in relevance]


def _by_slot(prepared: Prepared, question: Question, relevance: Tensor) -> Tensor:
    """Return what Θ gives the winning edge if slot s wins, [fan, *element]: it is asked once for each slot."""
    fan = prepared.block.wiring.fan
    wins = torch.eye(fan, dtype=torch.bool, device=prepared.device)
    ones = torch.ones((fan, fan), dtype=prepared.a[0].dtype, device=prepared.device)
    slots = torch.arange(fan, device=prepared.device)
    return question.annotation(Edges(ones, ones[:, 0], wins), question.semiring, relevance.dtype)[slots, slots]


def _pull(prepared: Prepared, question: Question, elements: Tensor, relevance: Tensor) -> Pulled:
    semiring, wiring, winner = question.semiring, prepared.block.wiring, prepared.winner
    assert winner is not None
    messages = semiring.times(elements[winner], relevance)
    index, _, _ = wiring.source(torch.arange(wiring.outputs, device=prepared.device), winner)
    into = semiring.full((1, prepared.batch * wiring.inputs), semiring.zero, relevance)
    index = index + torch.arange(prepared.batch, device=prepared.device)[:, None] * wiring.inputs
    if wiring.disjoint:
        into.index_copy_(1, index.reshape(-1), messages.flatten(0, 1)[None])
    else:
        scatter_any(semiring, into, index.reshape(-1), messages.flatten(0, 1)[None])
    return Pulled(into[0].unflatten(0, (prepared.batch, wiring.inputs)), None, None)
