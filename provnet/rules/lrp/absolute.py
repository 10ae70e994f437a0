"""Shares of the absolute contributions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from provnet.rules.lrp.base import Stabilised, register
from provnet.rules.lrp.factors import Branch, Factors, size


@register("absolute")
@dataclass(frozen=True)
class Absolute(Stabilised):
    """d_jk = |a_j w_jk| / Σ_j' |a_j' w_j'k|, |b| in the sum: how much goes through an edge, whatever its sign.

    All d lie in [0, 1] and conserve, up to neurons whose contributions are all 0. Source: absolute-value LRP, e.g.
    Nam et al. 2020, Relative Attributing Propagation, eq. 8.
    """

    stabilizer: float = 0.0
    name = "absolute"
    branches = (Branch((Factors(size, torch.abs),)),)
