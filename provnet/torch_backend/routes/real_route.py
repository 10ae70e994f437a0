"""Sums of products: R = f(a) · gᵀ(factor · R / z'), by the transpose of the block's own map (BLAS, conv_transpose)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from math import isfinite

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.rules.lrp.factors import Factors
from provnet.torch_backend.blocks import denormals, linear_maps
from provnet.torch_backend.blocks.output_shares import shares, some_overflow
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.weight_factors import Structured, factored, mapped
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register

__all__ = ["Transpose", "some_overflow"]


@register("transpose")
class Transpose(Route):
    """R_j = Σ over branches and products of f(a_j) Σ_k g(w_jk) (factor R_k / z'_k), equal to the definition to
    rounding."""

    name = "transpose"
    rank = 100

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        # Only where every real number is an element: elsewhere the definition checks what Θ gives.
        algebra = question.semiring
        declared = algebra.family == "sum-product" and algebra.ring and question.annotation.form == "identity"
        block = prepared.block
        served = not block.weight_by_example or linear_maps.by_example(block.wiring)
        # Neurons that are none need no mask: f(a) is 0 there.
        if not (declared and served and not prepared.selects):
            return None
        probe = linear_maps.has_transpose(prepared.block.wiring)
        return "Σ d·R is the transposed map of R / z" if probe else None

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        found = self.together((prepared,), question, relevance)
        return None if found is None else [parts[0] for parts in found]

    def together(
        self, parts: Sequence[Prepared], question: BlockQuestion, relevance: Sequence[Tensor]
    ) -> list[tuple[Pulled, ...]] | None:
        with linear_maps.full_precision():
            found = [_pull(parts, r) for r in relevance]
        return None if any(one is None for one in found) else [one for one in found if one is not None]


def _pull(parts: Sequence[Prepared], relevance: Tensor) -> tuple[Pulled, ...] | None:
    """Return what each operand gets, None where numbers that leave the floats may have a part in it."""
    lifted = (_lifted(parts, relevance, lift) for lift in denormals.LIFTS[relevance.dtype])
    return next((found for found in lifted if found is not None), None)


def _lifted(parts: Sequence[Prepared], relevance: Tensor, lift: float) -> tuple[Pulled, ...] | None:
    """Return what each operand gets: what an output hands to its edges, R / z', is the same for all.

    Relevance is taken times `lift`, a power of two, and what is passed back divided by it (see `denormals`).
    """
    first = parts[-1]  # the last operand has the bias
    rule, wiring = first.rule, first.block.wiring
    starts = list(accumulate((len(branch.products) for branch in rule.branches), initial=0))
    inputs: list[Tensor | None] = [None] * len(parts)
    bias, coarse = None, 0.0
    for found in shares(first, relevance, lift):
        if found is None:
            return None
        number, share = found
        products = rule.branches[number].products
        coarse = max(coarse, denormals.coarseness(first, number, lift))
        if first.b is not None:
            taken = [linear_maps.bias_total(wiring, share, p.biases(first.b)) for p in products if p.bias]
            bias = _sum([*taken, *([] if bias is None else [bias])])
        for n, part in enumerate(parts):
            for product, a in zip(products, part.a[starts[number] :], strict=False):
                held = inputs[n]
                if held is not None and product.silent(a):
                    continue
                last = len(products) == 1 and part is parts[-1]
                back = _part(part, product, a, share, last)
                if back is None:
                    return None
                inputs[n] = back if held is None else held.add_(back)
    return _lowered(parts, relevance, lift, inputs, bias, coarse)


def _lowered(
    parts: Sequence[Prepared],
    relevance: Tensor,
    lift: float,
    inputs: list[Tensor | None],
    bias: Tensor | None,
    coarse: float,
) -> tuple[Pulled, ...] | None:
    """Return what was found, divided by `lift`; None where denormal or infinite numbers may have had a part in it."""
    found = []
    for part, held in zip(parts, inputs, strict=True):
        mine = part.b is not None
        if held is None:  # no relevance came
            held = relevance.new_zeros((part.batch, part.block.wiring.inputs))
            bias = relevance.new_zeros(part.batch) if mine else bias
        total, taken = held.sum(1), bias if mine else None
        # A sum over examples that is no number has one in it; whether those of a sum that overflows are, each tells.
        whole = total if taken is None else total + taken
        finite = isfinite(whole.sum().item()) or bool(torch.isfinite(whole).all())
        if not (finite and denormals.negligible(part, relevance, lift, coarse, held, taken)):
            return None
        lowered = Pulled(held.mul_(1 / lift), None if taken is None else taken / lift, None, total.mul_(1 / lift))
        if lift < 1 and not _all_finite(lowered):
            return None
        found.append(lowered)
    return tuple(found)


def _all_finite(pulled: Pulled) -> bool:
    """Return whether no number leaves the floats. Each is looked at: of large ones that cancel the total is finite."""
    return all(bool(torch.isfinite(x).all()) for x in (pulled.inputs, pulled.bias) if x is not None)


def _part(prepared: Prepared, product: Factors, a: Tensor, share: Tensor, last: bool) -> Tensor | None:
    """Return f(a) · gᵀ(share) of one product, in memory of its own. `last`: nobody asks for the share again."""
    wiring, parts = prepared.block.wiring, factored(prepared, product) if last else None
    structured = raw(prepared, "w")
    if isinstance(structured, Structured) and product.w is None:
        back = structured.transposed(share)
    elif parts is None:
        w, g = mapped(prepared, product)
        back = linear_maps.transpose(wiring, share, w, g)
    else:
        back = linear_maps.transpose_scaled(wiring, share, parts.base, parts.scale)
    if back is None:
        return None
    own = back.is_contiguous() and back.untyped_storage().data_ptr() != share.untyped_storage().data_ptr()
    return back.mul_(a) if own else a * back


def _sum(parts: list[Tensor]) -> Tensor | None:
    """Return the sum of parts, None of none."""
    return reduce(torch.add, parts) if parts else None
