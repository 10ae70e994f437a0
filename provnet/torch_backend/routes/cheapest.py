"""Tropical costs of shares, found as Viterbi's best products: -log is an isomorphism, and one log an input is left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.input_edges import columns_of, listable
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register
from provnet.torch_backend.routes.max_times_route import BestProducts, best_products


@register("cheapest")
class Cheapest(Route):
    """R_j = c - log( |f(a_j)| max_k |g(w_jk)| exp(c - R_k) / m_k ), c the least R_k of the example.

    Within 8 ulp of max(1, R): a share's rounding error is an error of that size in its logarithm, here as in the
    definition; what is near the denormal numbers is the definition's. Memory: as `max-times`.
    """

    name = "cheapest"
    rank = 50

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        declared = question.semiring.family == "min-plus" and question.annotation.form == "neg-log"
        if not declared or not outer.single_product(prepared) or not listable(prepared):
            return None
        return "min over k of a sum of logarithms: the logarithm of a maximum of products"

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        found = [_pull(prepared, question, r) for r in relevance]
        return None if any(pulled is None for pulled in found) else [pulled for pulled in found if pulled is not None]


def _pull(prepared: Prepared, question: BlockQuestion, relevance: Tensor) -> Pulled | None:
    least = relevance.amin(dim=1, keepdim=True)
    least = torch.where(torch.isfinite(least), least, torch.zeros_like(least))
    reached = relevance < torch.inf
    found = best_products(prepared, question, torch.exp(least - relevance), reached)
    if found is None:
        return None
    inputs = _cost(found.inputs, least)
    for batch, chosen in (found.faint, (found.inputs > _best(found.inputs)).nonzero(as_tuple=True)):
        for column in columns_of(prepared, batch, chosen):
            costs = _literal(column.p, column.of(found.largest), column.of(relevance))
            costs = torch.where(column.present, costs, torch.inf)
            inputs[column.batch[:, 0], column.inputs] = costs.amin(1)
    lost = None
    if found.silent:
        lost = torch.where((found.largest == 0) & reached, relevance, torch.inf).amin(dim=1)
    return Pulled(inputs, _bias(prepared, relevance, found, least[:, 0]), lost)


def _best(products: Tensor) -> float:
    """Return the product from which one may be that of the cheapest path: its cost is c exactly, not to rounding."""
    return 1 - 16 * torch.finfo(products.dtype).eps


def _literal(p: Tensor, largest: Tensor, relevance: Tensor) -> Tensor:
    """Return -log(|p| / m) + R, inf where p = 0, of any shape."""
    size = p.abs() / torch.where(largest > 0, largest, torch.ones_like(largest))
    return torch.where(size > 0, size.log().abs() + relevance, torch.inf)  # no share is above one


def _bias(prepared: Prepared, relevance: Tensor, found: BestProducts, least: Tensor) -> Tensor | None:
    """Return what the biases' cheapest edge costs, [batch]."""
    b = outer.bias_column(prepared)
    if found.bias is None or b is None:
        return None
    if not found.faint_bias and not bool((found.bias > _best(found.bias)).any()):
        return _cost(found.bias, least)
    parts = [outer.by_bias(prepared, x) for x in (found.largest, relevance)]
    return _literal(b, *parts).flatten(1).amin(1)


def _cost(product: Tensor, least: Tensor) -> Tensor:
    """Return least - log(product), at least `least`: no share is above one, so nothing is cheaper."""
    reached = product > 0
    one = torch.ones((), dtype=product.dtype, device=product.device)
    # The vectorised log takes twelve times as long where zeros (-inf) are among its arguments.
    cost = torch.where(reached, product, one).log_().neg_().clamp_(min=0).add_(least)
    return torch.where(reached, cost, torch.full((), torch.inf, dtype=product.dtype, device=product.device))
