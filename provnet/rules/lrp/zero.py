"""LRP-0."""

from __future__ import annotations

from dataclasses import dataclass

from provnet.rules.lrp.base import Rule, register


@register("zero", "lrp0")
@dataclass(frozen=True)
class Zero(Rule):
    """d_jk = a_j w_jk / z_k: plain proportions. Conserves, up to neurons with z = 0. Source: [Bach15] eq. 56."""

    name = "zero"
