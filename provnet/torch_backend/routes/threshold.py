"""Reachability above a threshold: one (max, ×) fold gives each input's best score, and borderline ones are decided
literally."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.torch_backend import outer
from provnet.torch_backend.outer import Columns
from provnet.torch_backend.prepared import Prepared
from provnet.torch_backend.routes.base import Pulled, Question, Route, register


@register("threshold")
class ThresholdScores(Route):
    """Some active k has a_j w_jk / z_k >= θ exactly if a_j times the max (for a_j < 0 the min) over active k of
    w_jk / z_k is.

    Three roundings in another order differ by less than 8 ulp, so scores outside θ (1 ± 8 ulp) decide; a column
    inside is decided by the definition, edge by edge. θ > 0 only. Memory: a tile and the block's inputs.
    """

    name = "threshold"
    rank = 50

    def fits(self, prepared: Prepared, question: Question) -> str | None:
        theta = question.annotation
        declared = question.semiring.family == "or-and" and theta.form == "threshold"
        # The declared form has a θ, and says whether it is strict or takes |d|.
        if not declared or not outer.single_product(prepared) or getattr(theta, "theta", 0.0) <= 0:
            return None
        return "some edge passes if the best score does; scores near θ are decided literally"

    def pull(self, prepared: Prepared, question: Question, relevance: Sequence[Tensor]) -> list[Pulled] | None:
        z = prepared.z[0]
        theta = question.annotation.rounded(z.dtype)  # type: ignore[attr-defined]
        usable = z != 0
        if not _safe(z.abs()[usable], theta, prepared.a[0]):
            return None
        found = []
        for r in relevance:
            active = r & usable
            inputs = _pull(prepared, question, active, theta)
            found.append(Pulled(inputs, _bias(prepared, question, active), _lost(r & ~usable)))
        return found


def _safe(z: Tensor, theta: float, a: Tensor) -> bool:
    """Whether a score that comes near θ is rounded finely all the way.

    Contributions near it are θ z; the score's factors are 1 / z, w / z and a, and a w / z that came out too small to
    be rounded finely must stay below θ whatever a is.
    """
    small = outer.NORMAL[z.dtype]
    if not z.numel() or not a.numel():
        return True
    least, greatest = float(z.min()), float(z.max())
    return least * theta >= small and greatest <= 1 / small and float(a.abs().max()) * small < theta / 2


def _lost(dead: Tensor) -> Tensor | None:
    return dead.any(1) if bool(dead.any()) else None


def _bias(prepared: Prepared, question: Question, active: Tensor) -> Tensor | None:
    biases = outer.biases_of(prepared)
    if biases is None:
        return None
    d = biases / prepared.z[0]
    return (question.annotation.passes(d) & torch.isfinite(d) & active).any(1)  # type: ignore[attr-defined]


def _pull(prepared: Prepared, question: Question, active: Tensor, theta: float) -> Tensor:
    z = prepared.z[0]
    absolute = question.annotation.absolute  # type: ignore[attr-defined]
    zero = torch.zeros((), dtype=z.dtype, device=z.device)
    share = torch.where(active, 1 / z, zero)
    weights = outer.weights_of(prepared, signed=not absolute)
    a = prepared.a[0]
    if absolute:
        share, a = share.abs(), a.abs()
    signed = bool((a < 0).any())
    into = torch.zeros((len(z), prepared.block.wiring.inputs + 1), dtype=torch.bool, device=z.device)
    margin = 8 * torch.finfo(z.dtype).eps

    def reached(part: Columns) -> Tensor:
        """Return which of the tile's columns [batch, positions, fan] pass."""
        near = prepared.gather(a[part.batch], part.sources[0])
        score = near * part.reduce(torch.amax)
        if signed:
            score = torch.where(near < 0, near * part.reduce(torch.amin), score)
        passes = score > theta * (1 + margin)
        # An overflow or a NaN is undecided too: the definition then says whether the coefficient is defined.
        undecided = ~((score < theta * (1 - margin)) | (passes & torch.isfinite(score)))
        return _decided(prepared, question, active, part, passes, undecided) if bool(undecided.any()) else passes

    outer.fold(
        question.semiring, prepared, into, outer.columns(prepared, weights, share, active, question.tile), reached
    )
    return into.narrow(1, 0, prepared.block.wiring.inputs)


def _decided(
    prepared: Prepared, question: Question, active: Tensor, part: Columns, passes: Tensor, undecided: Tensor
) -> Tensor:
    """Decide borderline columns by the definition: Θ(fl(fl(a w) / z)), edge by edge over the tile's channels."""
    batch, position, slot = undecided.nonzero(as_tuple=True)
    outputs = prepared.outputs(part.tile)[position]  # [columns, channels]
    a = prepared.gather(prepared.a[0][part.batch], part.sources[0])[batch, position, slot]
    w = outer.bank(prepared, outer.weights_of(prepared, signed=True), part.tile, part.batch, part.sources)[0]
    w = w.expand(part.share.shape[1], outputs.shape[1], part.sources[0].shape[1])[position, :, slot]
    d = a[:, None] * w / prepared.z[0][part.batch][batch[:, None], outputs]
    live = active[part.batch][batch[:, None], outputs] & torch.isfinite(d)
    passes = passes.clone()
    passes[batch, position, slot] = (question.annotation.passes(d) & live).any(1)  # type: ignore[attr-defined]
    return passes
