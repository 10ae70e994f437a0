"""w² and flat: shares that do not depend on the activations, for a first layer whose inputs have no box."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from provnet.rules.lrp.base import Stabilised, register
from provnet.rules.lrp.factors import Branch, Factors, ones


@register("wsquare", "w-square")
@dataclass(frozen=True)
class WSquare(Stabilised):
    """d_jk = w_jk² / Σ_j' w_j'k², the bias's b² in the sum. Source: Montavon et al. 2017, Deep Taylor.

    Conserves, up to neurons whose weights are all 0. An input that is 0 gets its share too.
    """

    stabilizer: float = 0.0
    name = "wsquare"
    branches = (Branch((Factors(ones, torch.square),)),)


@register("flat")
@dataclass(frozen=True)
class Flat(Stabilised):
    """d_jk = 1 / n_k, n_k the inputs of the neuron, padding and bias not counted. Source: Lapuschkin et al. 2019.

    Conserves. It says how far a neuron sees, and nothing of what it saw.
    """

    stabilizer: float = 0.0
    name = "flat"
    branches = (Branch((Factors(ones, ones),)),)
    uses_bias = False
