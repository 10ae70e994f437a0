"""Sums of products: R = f(a) · gᵀ(factor · R / z'), by the transpose of the block's own map (BLAS, conv_transpose)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.torch_backend import linear_maps
from provnet.torch_backend.prepared import Prepared
from provnet.torch_backend.routes.base import Pulled, Question, Route, register

SMALLEST = {torch.float32: 1e-15, torch.float64: 1e-150}
"""Above this, |p / z| stays finite unless |p| is above 3e23 (1e158 in float64)."""


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
        shared = not (prepared.block.weight_by_example or prepared.block.bias_by_example)
        if not (declared and shared and prepared.winner is None and prepared.void is None):
            return None
        probe = linear_maps.has_transpose(prepared.block.wiring)
        return "Σ d·R is the transposed map of R / z" if probe else None

    def pull(self, prepared: Prepared, question: Question, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        if _some_overflow(prepared):
            return None
        with linear_maps.full_precision():
            found = [_pull(prepared, r) for r in relevance]
        return None if any(pulled is None for pulled in found) else [pulled for pulled in found if pulled is not None]


def _some_overflow(prepared: Prepared) -> bool:
    """Tell whether some d = p / z may leave the floats: it is undefined then, which R / z does not show.

    Only denominators near 0 can do that, so the weights are looked at only where there is one.
    """
    for z in prepared.z:
        size = torch.where(z == 0, torch.inf, z.abs())
        least = float(size.min()) if size.numel() else torch.inf
        if least >= SMALLEST[z.dtype]:
            continue
        weights = [product.weights(prepared.w) for product in prepared.rule.products]
        largest = sum(
            float(a.abs().max()) * (1.0 if w is None else float(w.abs().max()))
            for a, w in zip(prepared.a, weights, strict=True)
        )
        largest = max(largest, 0.0 if prepared.b is None else float(prepared.b.abs().max()))
        if largest >= least * torch.finfo(z.dtype).max:
            return True
    return False


def _pull(prepared: Prepared, relevance: Tensor) -> Pulled | None:
    wiring = prepared.block.wiring
    factors = iter(prepared.a)
    inputs: Tensor | None = None
    bias: Tensor | None = None
    for branch, z in zip(prepared.rule.branches, prepared.z, strict=True):
        # An empty pool is 0 / 0: nothing passes. Elsewhere the division may overflow; then the definition is asked.
        share = torch.where(z == 0, torch.zeros((), dtype=z.dtype, device=z.device), relevance / z)
        if branch.factor != 1:
            share = branch.factor * share
        for product in branch.products:
            a = next(factors)
            if inputs is not None and product.silent(a):
                continue
            back = linear_maps.transpose(wiring, share, product.weights(prepared.w))
            if back is None:
                return None
            part = a * back
            inputs = part if inputs is None else inputs + part
            if prepared.b is not None and product.bias:
                b = product.biases(prepared.b)
                taken = linear_maps.bias_total(wiring, share, b)
                bias = taken if bias is None else bias + taken
    assert inputs is not None
    if not bool(torch.isfinite(inputs.sum())):
        return None
    lost = None
    return Pulled(inputs, bias, lost)
