"""Shares of the largest contribution, as costs."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.annotations.max_normalised import max_normalised
from provnet.semirings.base import Semiring


@register("neg-log")
class NegLog(Annotation):
    """Θ = -log(|p_jk| / max_j' |p_j'k|) in [0, inf]: it conserves in Tropical. p = 0 gives +inf, Tropical's zero.

    Source: GSM25 section 3.4, the image of `MaxNormalised` under -log.
    """

    uses = "p"
    form = "general"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        # abs: -log 1 is -0.0, which is equal to 0 but prints with its sign.
        return self.floats(max_normalised(edges).log().neg().abs(), dtype, semiring)
