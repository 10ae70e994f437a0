"""LRP-epsilon: a stabilised denominator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from provnet.rules.lrp.base import Rule, number, register, shifted


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

    def stabilise(self, z: Tensor) -> Tensor:
        epsilon: float | Tensor = self.epsilon
        if self.rms:
            epsilon = epsilon + self.rms * z.square().mean(dim=1, keepdim=True).sqrt()
        return z + epsilon if self.literal else shifted(z, epsilon)
