"""Any annotation function, made conservative."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import UnsupportedOperationError
from provnet.semirings.annotations.base import Edges, register
from provnet.semirings.annotations.wrapping import Wrapping
from provnet.semirings.base import Semiring


@register("conserving")
class Conserving(Wrapping):
    """Θ_jk / (sum over j of Θ_jk), by the semiring's residual: a neuron passes on all it has. Solves GSM25 Problem 1.

    p / Σp in Real, p / max p in Viterbi and Fuzzy, c - min c in Tropical, the Goedel residual in Bottleneck. A neuron
    none of whose edges Θ lets pass has nothing to scale: its edges stay zero, its relevance is lost. In Boolean that is
    the only way to lose, so Θ is unchanged there.
    Raises: `UnsupportedOperationError` in a semiring without a residual, or where a sum hides which edges are zero
    (sets of bits, tuples).
    """

    def where(self, semiring: Semiring) -> Semiring:
        return semiring

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        partial = semiring.idempotent and not semiring.selective
        if not semiring.offers("residual") or semiring.element_shape or partial:
            raise UnsupportedOperationError(
                f"an annotation function cannot be made conservative in {semiring.name!r}, for want of a residual that "
                f"acts on whole elements. Those of real, viterbi, tropical, bottleneck and their kin do."
            )
        found = self.inside(edges, semiring, dtype)
        total = semiring.sum(found, found.dim() - 1).unsqueeze(-1)
        nothing = total == semiring.zero
        shares = semiring.residual(found, torch.where(nothing, semiring.full((), semiring.one, found), total))
        return torch.where(nothing, semiring.full((), semiring.zero, found), shares)
