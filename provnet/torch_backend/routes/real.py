"""Sums of products: R = f(a) · gᵀ(factor · R / z'), by the transpose of the block's own map (BLAS, conv_transpose)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.rules.lrp.base import Product
from provnet.torch_backend import linear_maps
from provnet.torch_backend.faint import Sizes, certain
from provnet.torch_backend.prepared import Prepared
from provnet.torch_backend.routes.base import Pulled, Question, Route, register
from provnet.torch_backend.shares import shares, some_overflow
from provnet.torch_backend.weights import Structured, factored, mapped

__all__ = ["Transpose", "some_overflow"]


@register("transpose")
class Transpose(Route):
    """R_j = Σ over branches and products of f(a_j) Σ_k g(w_jk) (factor R_k / z'_k), equal to the definition to
    rounding."""

    name = "transpose"
    rank = 100

    def fits(self, prepared: Prepared, question: Question) -> str | None:
        # Only where every real number is an element: elsewhere the definition checks what Θ gives.
        algebra = question.semiring
        declared = algebra.family == "sum-product" and algebra.ring and question.annotation.form == "identity"
        block = prepared.block
        served = not block.bias_by_example or prepared.b is None
        served &= not block.weight_by_example or linear_maps.by_example(block.wiring)
        if not (declared and served and not prepared.selects and prepared.void is None):
            return None
        probe = linear_maps.has_transpose(prepared.block.wiring)
        return "Σ d·R is the transposed map of R / z" if probe else None

    def pull(self, prepared: Prepared, question: Question, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        with linear_maps.full_precision():
            found = [_pull(prepared, r) for r in relevance]
        return None if any(pulled is None for pulled in found) else [pulled for pulled in found if pulled is not None]


def _pull(prepared: Prepared, relevance: Tensor) -> Pulled | None:
    rule, wiring = prepared.rule, prepared.block.wiring
    starts = list(accumulate((len(branch.products) for branch in rule.branches), initial=0))
    inputs: Tensor | None = None
    bias: Tensor | None = None
    sizes = Sizes()
    for found in shares(prepared, relevance, sizes):
        if found is None:
            return None
        number, share = found
        products = rule.branches[number].products
        if prepared.b is not None:
            taken = [linear_maps.bias_total(wiring, share, p.biases(prepared.b)) for p in products if p.bias]
            bias = _sum([*taken, *([] if bias is None else [bias])])
        for product, a in zip(products, prepared.a[starts[number] :], strict=False):
            if inputs is not None and product.silent(a):
                continue
            part = _part(prepared, product, a, share, len(products) == 1)
            if part is None:
                return None
            inputs = part if inputs is None else inputs.add_(part)
    if inputs is None:  # no relevance came
        inputs = relevance.new_zeros((prepared.batch, wiring.inputs))
        bias = None if prepared.b is None else relevance.new_zeros(prepared.batch)
    total = inputs.sum(1)
    finite = bool(torch.isfinite(total if bias is None else total + bias).all())
    sure = finite and certain(prepared, sizes, relevance, inputs, total, bias)
    return Pulled(inputs, bias, None, total) if sure else None


def _part(prepared: Prepared, product: Product, a: Tensor, share: Tensor, last: bool) -> Tensor | None:
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
