"""(max, ×) over shares of the largest contribution: Viterbi in two passes over the edges instead of ten."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.semirings.ordered import MaxSemiring
from provnet.torch_backend import contractions, outer
from provnet.torch_backend.columns import columns_of, listable, reachable
from provnet.torch_backend.contractions.body import MAX_TIMES_ABS
from provnet.torch_backend.prepared import Prepared
from provnet.torch_backend.routes.base import Pulled, Question, Route, register

_LARGER = MaxSemiring()
"""Whatever semiring asks, columns are joined by their maximum."""


@register("max-times")
class MaxTimes(Route):
    """R_j = |f(a_j)| max_k |g(w_jk)| (R_k / m_k), with m_k = max_j |p_jk|: within 8 ulp of max_k (|p_jk| / m_k) R_k.

    Memory: a tile and the block's inputs; m is kept with the denominators.
    """

    name = "max-times"
    rank = 50

    def fits(self, prepared: Prepared, question: Question) -> str | None:
        declared = question.semiring.family == "max-times" and question.annotation.form == "normalised"
        if not declared or not outer.single_product(prepared):
            return None
        engine = contractions.engine_for(prepared)
        by = "" if engine is None else f" ({engine.name})"
        return f"max over k of a product: |a| comes before the maximum{by}"

    def pull(self, prepared: Prepared, question: Question, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        found = [_pull(prepared, question, r) for r in relevance]
        return None if any(pulled is None for pulled in found) else [pulled for pulled in found if pulled is not None]


def _pull(prepared: Prepared, question: Question, relevance: Tensor) -> Pulled | None:
    largest = safe_largest(prepared, relevance != 0)
    if largest is None:
        return None
    zero = torch.zeros((), dtype=relevance.dtype, device=relevance.device)
    share = torch.where(largest > 0, relevance / largest, zero)

    found = best_products(prepared, question, share)
    if found is None:
        return None
    inputs, faint = found
    for column in columns_of(prepared, *faint):
        d = torch.where(column.present, column.p.abs() / column.of(largest), zero)
        messages = torch.where(d > 0, d * column.of(relevance), zero)  # 0 / 0 is no message
        inputs[column.batch[:, 0], column.inputs] = messages.amax(1)
    bias = best_bias(prepared, share)
    ceiling = question.semiring.bounds[1] if question.semiring.bounds is not None else torch.inf
    clamp = (lambda x: x.clamp(max=ceiling)) if ceiling < torch.inf else (lambda x: x)
    silent = largest == 0
    lost = torch.where(silent, relevance, zero).amax(dim=1) if bool(silent.any()) else None
    return Pulled(clamp(inputs), None if bias is None else clamp(bias), lost)


def safe_largest(prepared: Prepared, reached: Tensor) -> Tensor | None:
    """Return the largest contributions, None where some that matters is near the denormal ones or overflowed.

    Contributions that are too small beside it to be rounded finely have shares below 1e-15 of one.
    """
    largest = largest_contributions(prepared)
    small = outer.NORMAL[largest.dtype]
    if not bool(torch.isfinite(largest.sum())) or bool(((largest > 0) & (largest < small) & reached).any()):
        return None
    return largest


Faint = tuple[Tensor, Tensor]
"""Which inputs are left to the definition: their examples and their indices."""


def best_products(prepared: Prepared, question: Question, share: Tensor) -> tuple[Tensor, Faint] | None:
    """Return |f(a_j)| max over k of |g(w_jk)| share_k for every input j, [batch, inputs], and which inputs' products
    came near the denormal numbers on the way, so that the definition must be asked.

    None: a share is such a number itself, or there are too many such inputs, or they cannot be listed.
    """
    a = prepared.a[0].abs()
    small = outer.NORMAL[a.dtype]
    if bool(((share > 0) & (share < small)).any()) or not bool(torch.isfinite(share.sum())):
        return None
    columns = best_columns(prepared, question, share)
    inputs = a * columns
    if not bool(torch.isfinite(inputs.sum())):
        return None
    none = torch.empty(0, dtype=torch.int64, device=a.device)
    faint = ((columns < small) | (inputs < small)) & (a != 0)
    if not bool(faint.any()):
        return inputs, (none, none)
    if not listable(prepared):
        return (inputs, (none, none)) if _never_faint(prepared, share) else None
    faint &= reachable(prepared, share > 0)
    batch, chosen = faint.nonzero(as_tuple=True)
    if len(chosen) * prepared.block.wiring.edges > FAINT_EDGES * prepared.block.wiring.inputs:
        return None
    return inputs, (batch, chosen)


def _never_faint(prepared: Prepared, share: Tensor) -> bool:
    """Tell whether no product of numbers that are not 0 is near the denormal ones."""
    parts = [prepared.a[0].abs(), share, *([] if prepared.w is None else [_signed(prepared).abs()])]
    least = [float(torch.where(x == 0, torch.inf, x).min()) if x.numel() else torch.inf for x in parts]
    return min(least[0], 1.0) * least[1] * min([*least[2:], 1.0]) >= outer.NORMAL[share.dtype]


FAINT_EDGES = 1 << 26
"""Edges that are evaluated by the definition before the whole block is."""


def largest_contributions(prepared: Prepared) -> Tensor:
    """Return max |p| over each neuron's inputs, bias included, [batch, outputs]: exact. Made once and kept."""
    engine = contractions.engine_for(prepared)
    if engine is None or "largest" in prepared.memo:
        return outer.largest_contributions(prepared)
    size = prepared.a[0].abs()
    found = contractions.contract(engine, MAX_TIMES_ABS, prepared, "push", _signed(prepared), (size,), size != 0)
    prepared.memo["largest"] = outer.larger_of_bias(prepared, found)
    return prepared.memo["largest"]


def best_bias(prepared: Prepared, share: Tensor) -> Tensor | None:
    """Return max over k of |b_k| share_k, [batch]: rounding is monotone, so each bias meets its best share only."""
    b = outer.bias_column(prepared)
    return None if b is None else (outer.by_bias(prepared, share).amax(2) * b[:, 0].abs()).amax(1)


def best_columns(prepared: Prepared, question: Question, share: Tensor) -> Tensor:
    """Return max over k of |g(w_jk)| share_k for every input j, [batch, inputs]."""
    engine = contractions.engine_for(prepared)
    if engine is not None:
        return contractions.contract(engine, MAX_TIMES_ABS, prepared, "pull", _signed(prepared), (share,), share != 0)
    wiring = prepared.block.wiring
    into = torch.zeros((prepared.batch, wiring.inputs + 1), dtype=share.dtype, device=share.device)
    parts = outer.columns(prepared, outer.weights_of(prepared), share, share != 0, question.tile)
    outer.fold(_LARGER, prepared, into, parts, lambda part: part.reduce(torch.amax))
    return into.narrow(1, 0, wiring.inputs)


def _signed(prepared: Prepared) -> Tensor:
    weights = outer.weights_of(prepared, signed=True)
    assert weights is not None, "a contraction has weights"
    return weights
