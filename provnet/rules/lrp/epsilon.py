"""LRP-epsilon: a stabilised denominator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from provnet.rules.lrp.base import Rule, held, number, register, shifted


@register("epsilon")
@dataclass(frozen=True)
class Epsilon(Rule):
    """d_jk = a_j w_jk / (z_k + ε·sign z_k), with sign 0 = +1. Source: [Bach15] eq. 58.

    literal   adds ε without the sign, as [Gro24] does.
    rms       takes ε + `rms` times the root mean square of the layer's z, example by example ([Mon19] sec. 10.2.2 on
              choosing ε relative to the activations), unsigned if `literal`.

    Does not conserve: each neuron loses the share ε / (z + ε), which is reported as a sink in the rings.
    """

    epsilon: float = 1e-6
    literal: bool = False
    rms: float = 0.0
    name = "epsilon"

    def __post_init__(self) -> None:
        number(self.name, epsilon=self.epsilon, rms=self.rms)

    @property
    def remainder(self) -> str:
        return "stabiliser"

    @property
    def floor(self) -> float:
        return 0.0 if self.literal else self.epsilon

    @property
    def local(self) -> bool:
        return not self.rms

    def stabilise(self, z: Tensor) -> Tensor:
        epsilon: float | Tensor = self.epsilon
        held(self.epsilon, z, "epsilon")
        if self.rms:
            epsilon = epsilon + self.rms * root_mean_square(z)
        return z + epsilon if self.literal else shifted(z, epsilon)


def root_mean_square(z: Tensor) -> Tensor:
    """Return the root of the mean square of each row, [batch, neurons] -> [batch, 1].

    By shares of the largest entry, for squares may leave the floats; and so that the root of 0 meets no derivative.
    """
    largest = z.detach().abs().amax(dim=1, keepdim=True)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    mean = (z / largest).square().mean(dim=1, keepdim=True)
    root = torch.where(mean > 0, mean, torch.ones_like(mean)).sqrt()
    return largest * torch.where(mean > 0, root, torch.zeros_like(root))
