"""Max pooling that passes all to the winner: one edge an output, so nothing is folded over windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.rules.lrp.factors import RuleEdges
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.scatter import scatter_any
from provnet.torch_backend.blocks.winners import Winners
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register


@register("winner")
class Winner(Route):
    """R_j = ⊕ over the outputs k that j wins of Θ ⊗ R_k, in any semiring; losers are absent. Memory: the block's
    inputs."""

    name = "winner"
    rank = 100

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        # Where some neurons are none, a window may hold no neuron at all, and its first slot must not win.
        if not prepared.selects or not prepared.whole:
            return None
        return "losers are absent: each output has one edge"

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled]:
        elements = _by_slot(prepared, question, relevance[0])
        return [_pull(prepared, question, elements, r) for r in relevance]


def _by_slot(prepared: Prepared, question: BlockQuestion, relevance: Tensor) -> Tensor:
    """Return what Θ gives the winning edge if slot s wins, [fan, *element]: it is asked once for each slot."""
    fan = prepared.block.wiring.fan
    wins = torch.eye(fan, dtype=torch.bool, device=prepared.device)
    ones = torch.ones((fan, fan), dtype=prepared.a[0].dtype, device=prepared.device)
    slots = torch.arange(fan, device=prepared.device)
    return question.annotation(RuleEdges(ones, ones[:, 0], wins), question.semiring, relevance.dtype)[slots, slots]


def _pull(prepared: Prepared, question: BlockQuestion, elements: Tensor, relevance: Tensor) -> Pulled:
    semiring, wiring = question.semiring, prepared.block.wiring
    if _is_one(semiring, elements):
        messages = relevance
    else:
        # Where every slot gets the same element, it does not matter which one won, and nobody needs to look.
        chosen = elements[0] if _are_alike(elements) else elements[prepared.winner]
        messages = semiring.times(chosen.expand(relevance.shape), relevance)
    places = _planes(prepared)
    if places is not None and not semiring.element_shape:
        area = prod(wiring.source_shape)  # type: ignore[attr-defined]
        into = semiring.full((prepared.batch * wiring.inputs // area, area), semiring.zero, relevance)
        messages = messages.reshape(places.shape)
        if wiring.disjoint:
            return Pulled(into.scatter_(1, places, messages).reshape(prepared.batch, -1), None, None)
        if semiring.family == "sum-product" and prepared.device.type == "cpu" and messages.dtype != torch.bool:
            return Pulled(into.scatter_add_(1, places, messages).reshape(prepared.batch, -1), None, None)
    return _scattered(prepared, semiring, messages)


def _planes(prepared: Prepared) -> Tensor | None:
    """Return the winners' places in their input channels, [batch * channels, places of an output channel]."""
    held = raw(prepared, "winner")
    if not isinstance(held, Winners) or held.places is None:  # a pooling's alone are known
        return None
    return held.places.reshape(-1, prod(prepared.block.wiring.target_shape))  # type: ignore[attr-defined]


def _are_alike(elements: Tensor) -> bool:
    """Return whether Θ gives every slot the same element. Where a gradient is asked for, nothing is said."""
    return not elements.requires_grad and bool((elements == elements[:1]).all())


def _is_one(semiring: Semiring, elements: Tensor) -> bool:
    """Return whether Θ gives one to every slot: then it does not matter which slot won."""
    return not elements.requires_grad and bool((elements == semiring.full((), semiring.one, elements)).all())


def _scattered(prepared: Prepared, semiring: Semiring, messages: Tensor) -> Pulled:
    """Fold messages into the neurons that won, for any semiring and wiring."""
    wiring = prepared.block.wiring
    index, _, _ = wiring.source(torch.arange(wiring.outputs, device=prepared.device), prepared.winner)
    into = semiring.full((1, prepared.batch * wiring.inputs), semiring.zero, messages)
    index = index + torch.arange(prepared.batch, device=prepared.device)[:, None] * wiring.inputs
    if wiring.disjoint:
        into.index_copy_(1, index.reshape(-1), messages.flatten(0, 1)[None])
    else:
        scatter_any(semiring, into, index.reshape(-1), messages.flatten(0, 1)[None])
    return Pulled(into[0].unflatten(0, (prepared.batch, wiring.inputs)), None, None)
