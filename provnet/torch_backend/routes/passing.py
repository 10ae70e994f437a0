"""Edges that pass a threshold, or-ed or counted by a compiled kernel: the definition itself decides what passes."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import torch
from torch import Tensor

from provnet.torch_backend import contractions
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.denormals import quotients_fit
from provnet.torch_backend.blocks.extent import DivisorRange
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.base import Engine
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.least_passing import decidable
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register
from provnet.torch_backend.routes.max_times_route import largest_contributions

REACH = Body("reach", "c0 if a * w >= s0 else v", near=True, unreached=(nan,), join="max(v, s0)")
REACH_BELOW = Body("reach_below", "c0 if a * w <= s0 else v", near=True, unreached=(nan,), join="max(v, s0)")
REACH_BEYOND = Body("reach_beyond", "c0 if abs(a * w) >= s0 else v", near=True, unreached=(nan,), join="max(v, s0)")
COUNT = Body("count", "v + s1 if a * w >= s0 else v", scalars=2, near=True, unreached=(0.0, 0), join="v + s0")
COUNT_BELOW = Body(
    "count_below", "v + s1 if a * w <= s0 else v", scalars=2, near=True, unreached=(0.0, 0), join="v + s0"
)
COUNT_BEYOND = Body(
    "count_beyond", "v + s1 if abs(a * w) >= s0 else v", scalars=2, near=True, unreached=(0.0, 0), join="v + s0"
)

COUNT_OF_EITHER_SIGN = Body(
    "count_of_either_sign", "v + s1 if a * w * s2 >= s0 else v", scalars=3, near=True, unreached=(nan, 0, 1)
)
"""s2 is the sign of z, by which a product changes no digit."""


@register("passing")
class Passing(Route):
    """R_j = ⊕ over k of [fl(a_j w_jk) >= P_k] R_k, with P_k the least contribution whose quotient by z_k reaches θ.

    To the bit for Booleans and whole numbers. Memory: lists of reached outputs, packed weights (see the engine).
    """

    name = "passing"
    rank = 40

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        theta, semiring = question.annotation, question.semiring
        counted = semiring.counts and semiring.family == "sum-product"
        if not (counted or semiring.family == "or-and") or theta.form != "threshold":
            return None
        engine = contractions.engine_for(prepared)
        if engine is None or (theta.absolute and theta.theta <= 0):  # type: ignore[attr-defined]
            return None
        return f"what passes θ is compared without a division ({engine.name})"

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        found = [_pull(prepared, question, r) for r in relevance]
        return None if any(pulled is None for pulled in found) else [pulled for pulled in found if pulled is not None]


def _pull(prepared: Prepared, question: BlockQuestion, relevance: Tensor) -> Pulled | None:
    z, theta = divisors(prepared, question), question.annotation
    number = theta.rounded(z.dtype)  # type: ignore[attr-defined]
    received, defined = relevance != 0, z != 0
    reached = received & defined
    ends = DivisorRange().with_piece(torch.where(reached, z, torch.ones((), dtype=z.dtype, device=z.device)))
    safe = decidable(ends, number, z.dtype) and quotients_fit(prepared, ends.least)
    if not (safe and bool(torch.isfinite(z.sum()))):
        return None
    engine = contractions.engine_for(prepared)
    assert engine is not None, "fits has asked"
    least = engine.least_passing(z, reached, number, theta.strict)  # type: ignore[attr-defined]
    inputs = _contracted(engine, prepared, question, relevance, reached, least)
    undefined = received & ~defined
    lost = _total(relevance, undefined) if bool(undefined.any()) else None
    return Pulled(inputs, _bias(prepared, question, relevance, reached), lost)


def divisors(prepared: Prepared, question: BlockQuestion) -> Tensor:
    """Return what contributions are divided by before they meet θ, [batch, outputs]: z, or the largest of them."""
    return largest_contributions(prepared) if question.annotation.uses == "p" else prepared.z[0]


def _bias(prepared: Prepared, question: BlockQuestion, relevance: Tensor, reached: Tensor) -> Tensor | None:
    b = outer.bias_column(prepared)
    if b is None:
        return None
    relevance, reached, z = (outer.by_bias(prepared, x) for x in (relevance, reached, divisors(prepared, question)))
    passes = question.annotation.passes(b / z)  # type: ignore[attr-defined]
    return _total(relevance.flatten(1), (passes & reached).flatten(1))


def _total(relevance: Tensor, mask: Tensor) -> Tensor:
    """Return ⊕ over the outputs in the mask, [batch]."""
    if relevance.dtype == torch.bool:
        return (relevance & mask).any(1)
    return torch.where(mask, relevance, torch.zeros((), dtype=relevance.dtype, device=relevance.device)).sum(1)


def _contracted(
    engine: Engine, prepared: Prepared, question: BlockQuestion, relevance: Tensor, reached: Tensor, least: Tensor
) -> Tensor:
    """Return the relevance of the inputs, [batch, inputs], from the edges of outputs with z > 0 and with z < 0."""
    boolean, z, weights = (
        relevance.dtype == torch.bool,
        divisors(prepared, question),
        outer.weights_of(prepared, signed=True),
    )
    assert weights is not None, "engine_for has seen them"

    def part(body: Body, some: Tensor, least: Tensor) -> Tensor:
        scalars = (least,) if boolean else (least, relevance)
        dtype = weights.dtype if boolean else relevance.dtype
        near = prepared.a[0]
        return contractions.contract(engine, body, prepared, "pull", weights, scalars, some, near, (1.0,), dtype=dtype)

    if not boolean and not question.annotation.absolute:  # type: ignore[attr-defined]
        scalars = least, relevance, z.sign()
        given = weights, scalars, reached, prepared.a[0], relevance.dtype
        found = contractions.in_registers(engine, COUNT_OF_EITHER_SIGN, prepared, *given)
        if found is not None:
            return found
    if question.annotation.absolute:  # type: ignore[attr-defined]
        found = part(REACH_BEYOND if boolean else COUNT_BEYOND, reached, least)
    else:
        found = part(REACH if boolean else COUNT, reached & (z > 0), least)
        below = reached & (z < 0)
        if bool(below.any()):
            other = part(REACH_BELOW if boolean else COUNT_BELOW, below, least.neg())
            found = torch.maximum(found, other) if boolean else found + other
    return found > 0 if boolean else found
