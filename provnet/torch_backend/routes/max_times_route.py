"""(max, ×) over shares of the largest contribution: Viterbi in two passes over the edges instead of ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from provnet.semirings.max_times import MaxTimes
from provnet.torch_backend import contractions
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions import best_passes
from provnet.torch_backend.contractions.base import Operands
from provnet.torch_backend.contractions.body import MAX_TIMES_ABS
from provnet.torch_backend.contractions.geometry import Geometry, geometry_of
from provnet.torch_backend.contractions.input_edges import columns_of, heaviest, lightest, listable, reachable
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register

_LARGER = MaxTimes()
"""Whatever semiring asks, columns are joined by their maximum."""


@register("max-times")
class MaxTimesRoute(Route):
    """R_j = |f(a_j)| max_k |g(w_jk)| (R_k / m_k), with m_k = max_j |p_jk|: within 8 ulp of max_k (|p_jk| / m_k) R_k.

    Results that denormal numbers may have had a part in are the definition's (see `best_products`).
    Memory: a tile and the block's inputs; m is kept with the denominators.
    """

    name = "max-times"
    rank = 50

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        declared = question.semiring.family == "max-times" and question.annotation.form == "normalised"
        if not declared or not outer.single_product(prepared):
            return None
        engine = contractions.engine_for(prepared)
        by = "" if engine is None else f" ({engine.name})"
        return f"max over k of a product: |a| comes before the maximum{by}"

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        found = [_pull(prepared, question, r) for r in relevance]
        return None if any(pulled is None for pulled in found) else [pulled for pulled in found if pulled is not None]


def _pull(prepared: Prepared, question: BlockQuestion, relevance: Tensor) -> Pulled | None:
    found = best_products(prepared, question, relevance, relevance != 0)
    if found is None:
        return None
    largest = found.largest
    inputs, bias = found.inputs, found.bias
    for column in columns_of(prepared, *found.faint):
        messages = _literal(column.p, column.of(largest), column.of(relevance))
        inputs[column.batch[:, 0], column.inputs] = torch.where(column.present, messages, 0.0).amax(1)
    b = outer.bias_column(prepared)
    if found.faint_bias and b is not None:
        bias = _literal(b, *(outer.by_bias(prepared, x) for x in (largest, relevance))).flatten(1).amax(1)
    lost = torch.where(largest == 0, relevance, 0.0).amax(dim=1) if found.silent else None
    ceiling = _ceiling(question)
    if len(found.faint[0]) and ceiling < torch.inf:
        inputs = inputs.clamp_(max=ceiling)
    return Pulled(inputs, None if bias is None else bias.clamp(max=ceiling), lost)


def _literal(p: Tensor, largest: Tensor, relevance: Tensor) -> Tensor:
    """Return |p| / m · R, of any shape; 0 where all is 0."""
    d = p.abs() / torch.where(largest > 0, largest, torch.ones_like(largest))
    return d * relevance


@dataclass(frozen=True, eq=False)
class BestProducts:
    """What `best_products` found, and what it leaves to the definition.

    inputs      max over k of |p_jk| height_k / m_k, [batch, inputs]; of those in `faint` nothing is said
    bias        the same of the biases, [batch]; None: there is none. `faint_bias`: nothing is said of it
    largest     m, [batch, outputs]
    faint       examples and indices of the inputs that are left to the definition
    silent      whether some output is reached whose contributions are all 0
    """

    inputs: Tensor
    bias: Tensor | None
    largest: Tensor
    faint: tuple[Tensor, Tensor]
    faint_bias: bool
    silent: bool


def best_products(prepared: Prepared, question: BlockQuestion, height: Tensor, reached: Tensor) -> BestProducts | None:
    """Return max over k of |p_jk| / m_k · height_k for every input j, computed as |f(a_j)| max_k |g(w_jk)| share_k.

    That is within 8 ulp of the definition's order of roundings unless a product on either way comes near the denormal
    numbers, which are rounded coarsely. Which of them do is told from the result: the factor |p_jk| of a product is at
    least the product over the largest share. An output whose own m or share is such a number is left out; as no share
    of m is above one, what it gives is at most its height, and only inputs with less than that are unsure.

    height   numbers >= 0, [batch, outputs]. reached: where an output counts at all; its height may have become 0.
    None: there are too many unsure inputs, they cannot be listed, or something overflows.
    """
    largest, small = _largest_where(prepared, reached), outer.NORMAL[prepared.a[0].dtype]
    engine = contractions.engine_for(prepared)
    compiled = engine is not None and engine.name == "numba"
    given = best_passes.shares(largest, height, reached, small, compiled)
    if given is None:
        return None
    share, most, eps = given.share, given.most, torch.finfo(height.dtype).eps
    columns = best_columns(prepared, question, share, given.alive)
    least = small * most.clamp(min=1)
    if given.unseen is not None:
        least = torch.maximum(least, given.unseen * (1 + 16 * eps))
    found = best_passes.products(prepared.a[0], columns, least, small, _ceiling(question), compiled)
    if found is None or not bool(torch.isfinite(most.sum())):
        return None
    inputs, none = found.products, torch.empty(0, dtype=torch.int64, device=share.device)
    faint: tuple[Tensor, Tensor] | None = none, none
    if found.faint or (found.empty and not _nothing_vanishes(prepared, given)):
        reached = reached & (largest > 0)
        faint = _faint(prepared, inputs, columns, least, reached, share, given.unseen is not None)
    if faint is None:
        return None
    bias = best_bias(prepared, share)
    faint_bias = bias is not None and bool((bias < least[:, 0]).any()) and _has_bias(prepared) and bool(reached.any())
    return BestProducts(inputs, bias, largest, faint, faint_bias, given.silent)


def _has_bias(prepared: Prepared) -> bool:
    """Return whether some bias is not 0."""
    b = outer.bias_column(prepared)
    return b is not None and bool((b != 0).any())


def _ceiling(question: BlockQuestion) -> float:
    """Return what no product may exceed: rounding may take a share's a little above one."""
    semiring = question.semiring
    return semiring.bounds[1] if semiring.family == "max-times" and semiring.bounds is not None else torch.inf


def _nothing_vanishes(prepared: Prepared, given: best_passes.BestShares) -> bool:
    """Return whether a column is 0 for the reason alone that none of its edges is there or weighs something: no share
    is hidden, and no product of a weight and a share comes near the denormal numbers."""
    return given.unseen is None and given.least * lightest(prepared) >= outer.NORMAL[given.share.dtype]


def _faint(
    prepared: Prepared, inputs: Tensor, columns: Tensor, least: Tensor, reached: Tensor, share: Tensor, hidden: bool
) -> tuple[Tensor, Tensor] | None:
    """Return the (batch, input) pairs that the definition must decide; None if that is too much, or impossible.

    Inputs each of whose contributions is 0 are set to 0: they are decided.
    """
    faint = ((inputs < least) | (columns < outer.NORMAL[share.dtype])) & (prepared.a[0] != 0)
    none = torch.empty(0, dtype=torch.int64, device=share.device)
    if not listable(prepared):
        return (none, none) if not hidden and _never_faint(prepared, share) else None
    faint &= reachable(prepared, reached)
    # fl(|a| max |w|) is 0 exactly if every fl(|a| |w|) is: of pruned channels nothing need be listed.
    nothing = faint & (prepared.a[0].abs() * heaviest(prepared) == 0)
    inputs.masked_fill_(nothing, 0)
    batch, chosen = (faint & ~nothing).nonzero(as_tuple=True)
    edges = prepared.block.wiring.edges
    listed = len(chosen) * edges // max(prepared.block.wiring.inputs, 1)
    return None if listed > max(FAINT_EDGES, edges * prepared.batch // FAINT_PART) else (batch, chosen)


def _never_faint(prepared: Prepared, share: Tensor) -> bool:
    """Return whether no product of numbers that are not 0 is near the denormal ones."""
    parts = [prepared.a[0].abs(), share, *([] if prepared.w is None else [_signed(prepared).abs()])]
    least = [float(torch.where(x == 0, torch.inf, x).min()) if x.numel() else torch.inf for x in parts]
    return prod(min(x, 1.0) for x in least) >= outer.NORMAL[share.dtype]


FAINT_EDGES = 1 << 26
"""Edges that are evaluated by the definition, in lists, however many there are."""

FAINT_PART = 8
"""From this part of all edges on, lists take as long as the whole block by the definition."""


def largest_contributions(prepared: Prepared) -> Tensor:
    """Return max |p| over each neuron's inputs, bias included, [batch, outputs]: exact. Made once and kept."""
    engine = contractions.engine_for(prepared)
    if engine is None or prepared.extent.contributions is not None:
        return outer.largest_contributions(prepared)
    size = prepared.a[0].abs()
    found = contractions.contract(engine, MAX_TIMES_ABS, prepared, "push", _signed(prepared), (size,), size != 0)
    prepared.extent.contributions = outer.larger_of_bias(prepared, found)
    return prepared.extent.contributions


def _largest_where(prepared: Prepared, reached: Tensor) -> Tensor:
    """Return `largest_contributions` where outputs are `reached`; where a large dense layer's others are not, 1.

    What was made of a few outputs is not kept: another question has others.
    """
    wiring, engine = prepared.block.wiring, contractions.engine_for(prepared)
    shape = geometry_of(wiring)
    dense = shape is not None and shape.convolution is None
    if engine is None or not dense or prepared.extent.contributions is not None or wiring.edges < LARGE:
        return largest_contributions(prepared)
    wanted = reached.reshape(-1, wiring.channels)
    row, channel = wanted.any(1).nonzero()[:, 0], wanted.any(0).nonzero()[:, 0]
    if FEW * len(row) * len(channel) > wanted.numel():
        return largest_contributions(prepared)
    size = prepared.a[0].reshape(-1, wiring.fan)[row].abs()
    weights = _signed(prepared).reshape(wiring.channels, wiring.fan)[channel]
    geometry = Geometry(1, 1, wiring.fan, len(channel), 1, 1, 1)
    few = Operands(geometry, "push", weights.reshape(-1), (size,), size != 0, dtype=size.dtype)
    found = torch.ones(wanted.shape, dtype=size.dtype, device=size.device)
    if len(row):
        found[row[:, None], channel] = engine.contract(MAX_TIMES_ABS, few)
    return outer.larger_of_bias(prepared, found.reshape(reached.shape))


LARGE = 1 << 24
"""Edges of an example from which on it pays to look at the outputs that matter alone."""

FEW = 8
"""They are to be at most one in so many."""


def best_bias(prepared: Prepared, share: Tensor) -> Tensor | None:
    """Return max over k of |b_k| share_k, [batch]: rounding is monotone, so each bias meets its best share only."""
    b = outer.bias_column(prepared)
    return None if b is None else (outer.by_bias(prepared, share).amax(2) * b[:, 0].abs()).amax(1)


def best_columns(prepared: Prepared, question: BlockQuestion, share: Tensor, alive: Tensor) -> Tensor:
    """Return max over k of |g(w_jk)| share_k for every input j, [batch, inputs]."""
    engine = contractions.engine_for(prepared)
    if engine is not None:
        return contractions.contract(engine, MAX_TIMES_ABS, prepared, "pull", _signed(prepared), (share,), alive)
    wiring = prepared.block.wiring
    into = torch.zeros((prepared.batch, wiring.inputs + 1), dtype=share.dtype, device=share.device)
    parts = outer.columns(prepared, outer.weights_of(prepared), share, alive, question.tile)
    outer.fold(_LARGER, prepared, into, parts, lambda part: part.reduce(torch.amax))
    return into.narrow(1, 0, wiring.inputs)


def _signed(prepared: Prepared) -> Tensor:
    weights = outer.weights_of(prepared, signed=True)
    assert weights is not None, "a contraction has weights"
    return weights
