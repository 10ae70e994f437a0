"""Which edges have a variable at all."""

from __future__ import annotations

from provnet.semirings.annotations.base import register
from provnet.semirings.annotations.threshold import Threshold


@register("support")
class Support(Threshold):
    """Θ(d) = the edge's own variable where d >= θ, else 0: the default of the symbolic carriers. Source: GSM25 eq. 7.

    On tensors it gives one and zero, as `Threshold` does; whoever evaluates symbolically looks the variables up.
    """
