"""Dense layers folded over living neurons: what passes a threshold, or-ed or counted, and best products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.living import Folded, LivingLayer, counted, foldable, reached
from provnet.torch_backend.contractions.living_best import best
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register

EXACT = {torch.float32: 1 << 24, torch.float64: 1 << 53}
"""Whole numbers that floats hold exactly, up to here."""


SPARSE = 1 / 3
"""The part of the edges that join living neurons up to which it costs less to look for them than to fold all edges in
registers, as `max-times` and `passing` do. Boolean stops at the first edge that passes, so it is asked anyway."""


EXAMPLES = 16
"""As many at most are looked at for that."""


@register("living")
class Living(Route):
    """R_j = ⊕_k Θ(d)_jk ⊗ R_k over the outputs k that relevance came to and the inputs j that are not 0.

    Truth values and counts are the definition's to the bit, products of floats within 8 ulp. Memory: the block's
    inputs, two copies of its weights.
    """

    name = "living"
    rank = 60

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        semiring, theta = question.semiring, question.annotation
        decides = theta.form == "threshold" and theta.uses == "d" and theta.theta > 0  # type: ignore[attr-defined]
        counts = semiring.counts and semiring.family == "sum-product"
        shares = semiring.family == "max-times" and theta.form == "normalised"
        if not ((decides and (counts or semiring.family == "or-and")) or shares) or not foldable(prepared):
            return None
        return "example by example, dead inputs and outputs left out (numba)"

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        found = [_folded(prepared, question, r) for r in relevance]
        if any(folded is None for folded in found):
            return None
        return [_pulled(prepared, question.semiring, folded) for folded in found if folded is not None]


def _folded(prepared: Prepared, question: BlockQuestion, relevance: Tensor) -> Folded | None:
    semiring, theta, layer = question.semiring, question.annotation, LivingLayer(prepared, relevance)
    number = prepared.a[0].dtype
    if semiring.family != "or-and" and _alive(relevance) * _alive(prepared.a[0]) > SPARSE:
        return None
    if semiring.family == "max-times":
        if relevance.dtype != number or not layer.finite:
            return None
        ceiling = torch.inf if semiring.bounds is None else semiring.bounds[1]
        found = best(layer, prepared.extent.contributions, ceiling)
        if found is None:
            return None
        folded, prepared.extent.contributions = found
        return folded
    decision = theta.rounded(number), theta.strict, theta.absolute  # type: ignore[attr-defined]
    if semiring.family == "or-and":
        return reached(layer, *decision) if relevance.dtype == torch.bool else None
    if relevance.dtype not in (torch.int64, torch.float64):
        return None
    most = float(relevance.max()) * layer.far if relevance.numel() else 0.0
    held = next((dtype for dtype, limit in EXACT.items() if most < limit), None)
    if held is None or most * prepared.block.wiring.inputs >= (1 << 62 if relevance.dtype == torch.int64 else 1 << 53):
        return None
    return counted(layer, *decision, held, relevance.dtype)


def _alive(x: Tensor) -> float:
    """Return which part of some numbers is not 0, [batch, …], by some of the examples: it decides what is faster only,
    and counting all takes longer than a layer's own product."""
    some = x[:: -(-len(x) // EXAMPLES)] if len(x) else x
    return int(some.count_nonzero()) / max(some.numel(), 1)


def _pulled(prepared: Prepared, semiring: Semiring, folded: Folded) -> Pulled:
    each = (folded.bias, folded.lost, folded.total)
    bias, lost, total = (ends.select(1, 0) if ends.shape[1] == 1 else semiring.sum(ends, 1) for ends in each)
    some = bool((lost != 0).any())
    return Pulled(folded.inputs, None if prepared.b is None else bias, lost if some else None, total)
