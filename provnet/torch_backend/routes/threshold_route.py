"""Reachability above a threshold: one (max, ×) fold gives each input's best score, and borderline ones are decided
literally."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.torch_backend import contractions
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.denormals import largest_input
from provnet.torch_backend.blocks.outer_products import OuterTile
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.base import Engine
from provnet.torch_backend.contractions.body import MAX_TIMES, MAX_TIMES_ABS, SCORE
from provnet.torch_backend.contractions.input_edges import columns_of
from provnet.torch_backend.contractions.score_passes import ReachedShares, passes, shares
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route, register
from provnet.torch_backend.routes.passing import divisors


@register("threshold")
class ThresholdScores(Route):
    """Some reached k has a_j w_jk / z_k >= θ exactly if a_j times the max (for a_j < 0 the min) over reached k of
    w_jk / z_k is.

    Three roundings in another order differ by less than 8 ulp, so scores outside θ (1 ± 8 ulp) decide; a column
    inside is decided by the definition, edge by edge. θ > 0 only. Of shares, z is the largest
    contribution. Memory: a tile and the block's inputs.
    """

    name = "threshold"
    rank = 50

    def fits(self, prepared: Prepared, question: BlockQuestion) -> str | None:
        theta = question.annotation
        declared = question.semiring.family == "or-and" and theta.form == "threshold"
        # The declared form has a θ, and says whether it is strict or takes |d|.
        if not declared or not outer.single_product(prepared) or getattr(theta, "theta", 0.0) <= 0:
            return None
        engine = contractions.engine_for(prepared)
        by = "" if engine is None else f" ({engine.name})"
        return f"some edge passes if the best score does; scores near θ are decided literally{by}"

    def pull(self, prepared: Prepared, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        z = divisors(prepared, question)
        theta, absolute = question.annotation.rounded(z.dtype), question.annotation.absolute  # type: ignore[attr-defined]
        found = []
        for r in relevance:
            asked = shares(z, r, absolute)
            if not _safe(asked, theta, prepared):
                return None
            engine = contractions.engine_for(prepared)
            if engine is None:
                inputs = _pull(prepared, question, asked.reached, theta)
            else:
                inputs = _contracted(engine, prepared, question, asked, theta)
            lost = (r & (z == 0)).any(1) if asked.lost else None
            found.append(Pulled(inputs, _bias(prepared, question, asked.reached), lost))
        return found


def _safe(asked: ReachedShares, theta: float, prepared: Prepared) -> bool:
    """Whether a score that comes near θ is rounded finely all the way.

    It is a normal number itself. Contributions near it are θ z; the score's factors are 1 / z, w / z and a, or a w,
    and what of them came out too small to be rounded finely must stay below θ whatever the others are.
    """
    small = outer.NORMAL[asked.share.dtype]
    fine = theta >= small and asked.least * theta >= small and asked.greatest <= 1 / small
    return fine and largest_input(prepared) * small < theta / 2


def _bias(prepared: Prepared, question: BlockQuestion, reached: Tensor) -> Tensor | None:
    """Return whether the bias is reached, [batch]: of the outputs that share one, the |z| next to 0 give the ends of
    d."""
    b = outer.bias_column(prepared)
    if b is None:
        return None
    if not bool(b.any()):  # θ > 0
        return torch.zeros(len(reached), dtype=torch.bool, device=reached.device)
    z, reached = outer.by_bias(prepared, divisors(prepared, question)), outer.by_bias(prepared, reached)
    passed = _bias_at_ends(b, z, reached, question)
    if bool(passed.all()):
        return passed
    infinite = torch.full((), torch.inf, dtype=z.dtype, device=z.device)
    for sign in (1, -1):
        side = reached & (z > 0 if sign > 0 else z < 0)
        if not bool(side.any()):
            continue
        near = sign * torch.where(side, z.abs(), infinite).amin(2, keepdim=True)
        d = b / near
        if not bool(torch.isfinite(d).all()):  # it is undefined, and the next z may not be
            near, d = z, torch.where(side, b / z, torch.zeros_like(z))
        found = question.annotation.passes(d) & torch.isfinite(d)  # type: ignore[attr-defined]
        passed |= (found & torch.isfinite(near)).flatten(1).any(1)
    return passed


def _bias_at_ends(b: Tensor, z: Tensor, reached: Tensor, question: BlockQuestion) -> Tensor:
    """Return whether the bias is reached from the first or the last of the outputs that share it, [batch]: most often
    it is, and the others need not be looked at."""
    ends = [0, -1] if z.shape[2] > 1 else [0]
    near = z[:, :, ends]
    d = torch.where(reached[:, :, ends], b / near, torch.zeros((), dtype=z.dtype, device=z.device))
    passes = question.annotation.passes(d) & torch.isfinite(d)  # type: ignore[attr-defined]
    return passes.flatten(1).any(1)


def _pull(prepared: Prepared, question: BlockQuestion, reached: Tensor, theta: float) -> Tensor:
    z = divisors(prepared, question)
    absolute = question.annotation.absolute  # type: ignore[attr-defined]
    zero = torch.zeros((), dtype=z.dtype, device=z.device)
    share = torch.where(reached, 1 / z, zero)
    weights = outer.weights_of(prepared, signed=not absolute)
    a = prepared.a[0]
    if absolute:
        share, a = share.abs(), a.abs()
    signed = bool((a < 0).any())
    into = torch.zeros((len(z), prepared.block.wiring.inputs + 1), dtype=torch.bool, device=z.device)
    margin = 8 * torch.finfo(z.dtype).eps

    def passed(part: OuterTile) -> Tensor:
        """Return which of the tile's columns [batch, positions, fan] pass."""
        near = prepared.gather(a[part.batch], part.sources[0])
        score = near * part.reduce(torch.amax)
        if signed:
            score = torch.where(near < 0, near * part.reduce(torch.amin), score)
        passes = score > theta * (1 + margin)
        # An overflow or a NaN is undecided too: the definition then says whether the coefficient is defined.
        undecided = ~((score < theta * (1 - margin)) | (passes & torch.isfinite(score)))
        return _decided(prepared, question, reached, part, passes, undecided) if bool(undecided.any()) else passes

    outer.fold(
        question.semiring, prepared, into, outer.columns(prepared, weights, share, reached, question.tile), passed
    )
    return into.narrow(1, 0, prepared.block.wiring.inputs)


def _contracted(
    engine: Engine, prepared: Prepared, question: BlockQuestion, asked: ReachedShares, theta: float
) -> Tensor:
    """The same by a compiled contraction: [batch, inputs]."""
    z, reached = divisors(prepared, question), asked.reached
    score = _scores(engine, prepared, asked, question.annotation.absolute)  # type: ignore[attr-defined]
    margin = 8 * torch.finfo(z.dtype).eps
    low, high = theta * (1 - margin), theta * (1 + margin)
    found, decided = passes(score, low, high)
    if not decided:  # an overflow or a NaN is not either
        batch, inputs = (~((score < low) | (found & torch.isfinite(score)))).nonzero(as_tuple=True)
        for column in columns_of(prepared, batch, inputs):
            d = column.p / column.of(z)
            known = column.of(reached) & column.present & torch.isfinite(d)
            passing = question.annotation.passes(d) & known  # type: ignore[attr-defined]
            found[column.batch[:, 0], column.inputs] = passing.any(1)
    return found


def _scores(engine: Engine, prepared: Prepared, asked: ReachedShares, absolute: bool) -> Tensor:
    """Return the best score of each input, or 0, [batch, inputs]. The shares are overwritten.

    θ > 0: only a positive score can pass, so that none is less than 0, what the fold starts from.
    """
    a, share, reached = prepared.a[0], asked.share, asked.reached
    weights = outer.weights_of(prepared, signed=True)
    assert weights is not None, "engine_for has seen them"
    a = a.abs() if absolute else a
    signed = bool(a.numel()) and float(a.min()) < 0
    if signed:
        # fl(fl(a w) share) is as near as a times a maximum: an a w that is rounded coarsely is far below θ z.
        found = contractions.in_registers(engine, SCORE, prepared, weights, (share,), reached, a, folds=2)
        if found is not None:
            return found
    body = MAX_TIMES_ABS if absolute else MAX_TIMES
    score = a * contractions.contract(engine, body, prepared, "pull", weights, (share,), reached)
    if signed:
        least = contractions.contract(engine, body, prepared, "pull", weights, (share.neg_(),), reached)
        score = torch.where(a < 0, a.neg() * least, score)
    return score


def _decided(
    prepared: Prepared, question: BlockQuestion, reached: Tensor, part: OuterTile, passes: Tensor, undecided: Tensor
) -> Tensor:
    """Decide borderline columns by the definition: Θ(fl(fl(a w) / z)), edge by edge over the tile's channels."""
    batch, position, slot = undecided.nonzero(as_tuple=True)
    outputs = prepared.outputs(part.tile)[position]  # [columns, channels]
    a = prepared.gather(prepared.a[0][part.batch], part.sources[0])[batch, position, slot]
    w = outer.bank(prepared, outer.weights_of(prepared, signed=True), part.tile, part.batch, part.sources)[0]
    w = w.expand(part.share.shape[1], outputs.shape[1], part.sources[0].shape[1])[position, :, slot]
    d = a[:, None] * w / divisors(prepared, question)[part.batch][batch[:, None], outputs]
    decided = reached[part.batch][batch[:, None], outputs] & torch.isfinite(d)
    passes = passes.clone()
    passes[batch, position, slot] = (question.annotation.passes(d) & decided).any(1)  # type: ignore[attr-defined]
    return passes
