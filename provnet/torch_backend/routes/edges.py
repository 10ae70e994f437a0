"""The definition itself, edge by edge, by a kernel that is generated from the scalar expressions of ⊕, ⊗ and Θ."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from provnet.semirings import scalar
from provnet.semirings.base import Semiring
from provnet.torch_backend import contractions
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.denormals import quotients_fit
from provnet.torch_backend.blocks.extent import DivisorRange
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.body import Body, edge_body
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register
from provnet.torch_backend.routes.max_times_route import largest_contributions
from provnet.torch_backend.routes.outranked import OutrankedEdges, bounded


@register("edges")
class CompiledEdges(Route):
    """R_j = ⊕_k Θ(d)_jk ⊗ R_k, literally, where the semiring and Θ say what they do to single numbers.

    Equal to the reference to the bit where ⊕ does not round, else but for the order of sums. Memory: lists of reached
    outputs, packed weights (see the engine).
    """

    name = "edges"
    rank = 30

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        semiring, theta = question.semiring, question.annotation
        if semiring.scalar is None or theta.scalar is None or semiring.element_shape or semiring.dtype is not None:
            return None
        # Elsewhere the definition checks that what Θ gives lies in the carrier.
        if theta.name != semiring.annotation and semiring.bounds not in (None, (-torch.inf, torch.inf)):
            return None
        engine = contractions.engine_for(prepared)
        return None if engine is None else f"a kernel of {semiring.scalar[0]}, {semiring.scalar[1]} ({engine.name})"

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        if relevance[0].dtype != prepared.z[0].dtype or _may_be_nan(question.semiring, relevance):
            return None
        shared = question.annotation.uses == "p"
        below = largest_contributions(prepared) if shared else prepared.z[0]
        defined = below != 0
        # An infinite contribution makes a NaN, which the kernels would not report; an infinite quotient is undefined.
        ends = DivisorRange().with_piece(below)
        fit = shared or quotients_fit(prepared, ends.least)
        if not (fit and bool(torch.isfinite(below.sum()))):
            return None
        return [_pull(prepared, question, r, below, ends, defined) for r in relevance]


def _may_be_nan(semiring: Semiring, relevance: Sequence[Tensor]) -> bool:
    """Whether plus or times may make a NaN of infinities, which the kernels would not report.

    Carriers that state their bounds keep such pairs apart; so do texts without arithmetic.
    """
    assert semiring.scalar is not None, "fits has seen it"
    if semiring.bounds is not None or not any(sign in text for text in semiring.scalar for sign in "+-*/"):
        return False
    zero = float(semiring.zero)  # type: ignore[arg-type]
    return not all(bool((torch.isfinite(r) | (r == zero)).all()) for r in relevance)


@lru_cache(maxsize=64)
def _body(plus: str, times: str, element: str) -> Body:
    return edge_body("edges", plus, times, element)


def _pull(
    prepared: Prepared,
    question: BlockQuestion,
    relevance: Tensor,
    below: Tensor,
    ends: DivisorRange,
    defined: Tensor,
) -> Pulled:
    semiring, theta = question.semiring, question.annotation
    assert semiring.scalar is not None and theta.scalar is not None, "fits has seen them"
    zero = semiring.full((), semiring.zero, relevance)
    received = relevance != zero
    reached = received & defined
    if bounded(prepared, question):
        messages = partial(_messages, semiring, theta.scalar)
        inputs = OutrankedEdges(prepared, question, below, ends, messages).pull(relevance, reached, zero)
    else:
        engine, weights = contractions.engine_for(prepared), outer.weights_of(prepared, signed=True)
        assert engine is not None and weights is not None, "fits has asked"
        body, given = _body(*semiring.scalar, theta.scalar), ((below, relevance), reached, prepared.a[0])
        inputs = contractions.contract(engine, body, prepared, "pull", weights, *given, zero=float(zero))
    undefined = received & ~defined
    lost = semiring.sum(torch.where(undefined, relevance, zero), 1) if bool(undefined.any()) else None
    return Pulled(inputs, _bias(prepared, semiring, theta.scalar, relevance, below, reached), lost)


def _bias(
    prepared: Prepared, semiring: Semiring, element: str, relevance: Tensor, below: Tensor, reached: Tensor
) -> Tensor | None:
    """Return what the bias takes, [batch]: the same expressions, on tensors."""
    p = outer.bias_column(prepared)
    if p is None:
        return None
    relevance, below, reached = (outer.by_bias(prepared, x) for x in (relevance, below, reached))
    one = torch.ones((), dtype=below.dtype, device=below.device)
    safe = torch.where(reached, below, one)
    messages = _messages(semiring, element, p.expand_as(safe), safe, relevance)
    messages = torch.where(reached, messages, semiring.full((), semiring.zero, relevance))
    return semiring.sum(messages.flatten(1), 1)


def _messages(semiring: Semiring, element: str, p: Tensor, below: Tensor, relevance: Tensor) -> Tensor:
    """Return Θ ⊗ R of edges, by the same expressions, of any shape."""
    checked = scalar.checked(element, frozenset({"p", "d", "m"}))
    return semiring.times(scalar.on_tensors(checked, {"p": p, "m": below, "d": p / below}), relevance)
