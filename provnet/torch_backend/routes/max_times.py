"""(max, ×) over shares of the largest contribution: Viterbi in two passes over the edges instead of ten."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.torch_backend import outer
from provnet.torch_backend.prepared import Prepared
from provnet.torch_backend.routes.base import Pulled, Question, Route, register


@register("max-times")
class MaxTimes(Route):
    """R_j = |f(a_j)| max_k |g(w_jk)| (R_k / m_k), with m_k = max_j |p_jk|: within 8 ulp of max_k (|p_jk| / m_k) R_k.

    Memory: a tile and the block's inputs; m is kept with the denominators.
    """

    name = "max-times"
    rank = 50

    def fits(self, prepared: Prepared, question: Question) -> str | None:
        declared = question.semiring.family == "max-times" and question.annotation.form == "normalised"
        fits = declared and outer.single_product(prepared)
        return "max over k of a product: |a| comes before the maximum" if fits else None

    def pull(self, prepared: Prepared, question: Question, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        found = [_pull(prepared, question, r) for r in relevance]
        return None if any(pulled is None for pulled in found) else [pulled for pulled in found if pulled is not None]


def _pull(prepared: Prepared, question: Question, relevance: Tensor) -> Pulled | None:
    largest = outer.largest_contributions(prepared)
    zero = torch.zeros((), dtype=relevance.dtype, device=relevance.device)
    share = torch.where(largest > 0, relevance / largest, zero)
    semiring, wiring = question.semiring, prepared.block.wiring
    into = torch.zeros((prepared.batch, wiring.inputs + 1), dtype=relevance.dtype, device=relevance.device)
    parts = outer.columns(prepared, outer.weights_of(prepared), share, share != 0, question.tile)
    outer.fold(semiring, prepared, into, parts, lambda part: part.reduce(torch.amax))
    into = into.narrow(1, 0, wiring.inputs)
    inputs = prepared.a[0].abs() * into
    if not _safe(prepared.a[0], share, into, inputs):
        return None
    biases = outer.biases_of(prepared)
    bias = None if biases is None else (biases.abs() * share).amax(dim=1)
    ceiling = semiring.bounds[1] if semiring.bounds is not None else torch.inf
    clamp = (lambda x: x.clamp(max=ceiling)) if ceiling < torch.inf else (lambda x: x)
    silent = largest == 0
    lost = torch.where(silent, relevance, zero).amax(dim=1) if bool(silent.any()) else None
    return Pulled(clamp(inputs), None if bias is None else clamp(bias), lost)


def _safe(a: Tensor, *stages: Tensor) -> bool:
    """Whether all numbers are finite, and none is so small that it was rounded coarsely on the way.

    What underflowed to 0 before |a| came is told by no stage: it must be nothing after |a| too.
    """
    small = outer.NORMAL[a.dtype]
    if a.numel() and float(a.abs().max()) * torch.finfo(a.dtype).tiny > small:
        return False
    coarse = any(bool(((x > 0) & (x < small)).any()) for x in stages)
    return not coarse and all(bool(torch.isfinite(x.sum())) for x in stages)
