"""LRP-gamma: positive weights favoured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from provnet.rules.lrp.base import Stabilised, held, number, register
from provnet.rules.lrp.factors import Branch, Factors, negative, positive


@dataclass(frozen=True)
class Favoured:
    """g(w) = w + γ·w⁺, or w + γ·w⁻ where `sign` is -1."""

    gamma: float
    sign: int = 1

    def __call__(self, w: Tensor) -> Tensor:
        part = w.clamp(min=0) if self.sign > 0 else w.clamp(max=0)
        return part.mul_(held(self.gamma, w, "gamma")).add_(w)


@register("gamma")
@dataclass(frozen=True)
class Gamma(Stabilised):
    """d_jk = a_j (w_jk + γ w_jk⁺) / Σ_j' a_j' (w_j'k + γ w_j'k⁺), the bias likewise. Source: [Mon19] eq. 10.4.

    signed        the generalised form for inputs of both signs (Andéol et al. 2021): a neuron with z > 0 takes
                  p = a⁺(w + γw⁺) + a⁻(w + γw⁻), one with z < 0 takes p = a⁺(w + γw⁻) + a⁻(w + γw⁺), over the sum of
                  those. For a >= 0 and z > 0 both forms agree.
    stabilizer    ε added to the denominator with its sign. Coefficients with `signed` have no single p: p is d.

    Conserves, up to neurons whose modified sum is 0 (signed: whose z is 0), and to the share ε / z' of a stabiliser.
    γ -> ∞ gives z+. Raises: `OptionError` unless γ is finite and >= 0.
    """

    gamma: float = 0.25
    signed: bool = False
    stabilizer: float = 0.0
    name = "gamma"

    def __post_init__(self) -> None:
        number(self.name, gamma=self.gamma, stabilizer=self.stabilizer)

    @cached_property
    def branches(self) -> tuple[Branch, ...]:  # type: ignore[override]
        up, down = Favoured(self.gamma), Favoured(self.gamma, -1)
        if not self.signed:
            return (Branch((Factors(w=up),)),)
        return (
            Branch((Factors(positive, up), Factors(negative, down, bias=0.0)), sign=1),
            Branch((Factors(positive, down), Factors(negative, up, bias=0.0)), sign=-1),
        )
