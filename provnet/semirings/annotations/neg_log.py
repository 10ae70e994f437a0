"""Shares of the largest contribution, as costs."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Edges, register
from provnet.semirings.annotations.max_normalised import Shares, max_normalised
from provnet.semirings.base import Semiring


@register("neg-log")
class NegLog(Shares):
    """Θ = -log(|p_jk| / max_j' |p_j'k|) in [0, inf]: it conserves in Tropical. p = 0 gives +inf, Tropical's zero.

    Source: GSM25 section 3.4, the image of `MaxNormalised` under -log.
    """

    form = "neg-log"

    def masks_absent(self, semiring: Semiring) -> bool:
        return not semiring.element_shape and bool(semiring.zero == torch.inf)  # an absent edge has the share 0

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        share = max_normalised(edges)
        alive = share > 0
        # The vectorised log takes twelve times as long where zeros (-inf) are among its arguments.
        # No share is above one, so its log's size is its cost; -log 1 would be -0.0, which prints with its sign.
        cost = torch.where(alive, share, torch.ones((), dtype=share.dtype, device=share.device)).log_().abs_()
        infinite = torch.full((), torch.inf, dtype=share.dtype, device=share.device)
        return self.floats(torch.where(alive, cost, infinite), dtype, semiring)
