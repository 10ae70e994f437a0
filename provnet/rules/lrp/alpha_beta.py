"""LRP-alpha-beta and its special case z+: positive and negative contributions apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from provnet.errors import OptionError
from provnet.rules.lrp.base import Stabilised, number, register
from provnet.rules.lrp.factors import Branch, Factors, negative, positive

ACTIVATING = (Factors(positive, positive), Factors(negative, negative, bias=0.0))
"""(a·w)⁺ = a⁺w⁺ + a⁻w⁻; the bias, whose activation is 1, gives b⁺."""
INHIBITING = (Factors(positive, negative), Factors(negative, positive, bias=0.0))
"""(a·w)⁻ = a⁺w⁻ + a⁻w⁺; the bias gives b⁻."""


@register("alpha-beta", "alpha_beta")
@dataclass(frozen=True)
class AlphaBeta(Stabilised):
    """d_jk = α (a_j w_jk)⁺ / Σ⁺ − β (a_j w_jk)⁻ / Σ⁻, each over its own sum, the bias in its pool.

    Source: [Bach15] eq. 60.

    α − β = 1, so that a neuron with both pools conserves. One whose Σ⁺ is empty gives −β of its relevance, one whose Σ⁻
    is empty α: the difference is reported as a sink in the rings. There is no single p: p is d.
    Raises: `OptionError` if α − β ≠ 1, or if α or β is negative.
    """

    alpha: float = 2.0
    beta: float = 1.0
    stabilizer: float = 0.0
    name = "alpha-beta"

    def __post_init__(self) -> None:
        number(self.name, alpha=self.alpha, beta=self.beta, stabilizer=self.stabilizer)
        if abs(self.alpha - self.beta - 1) > 1e-12 * (1 + self.alpha):
            raise OptionError(
                f"AlphaBeta got α = {self.alpha} and β = {self.beta}; the law is α − β = 1, so that relevance is "
                f"conserved. Take β = {self.alpha - 1:g}."
            )

    @property
    def together(self) -> float:
        return 1.0 if self.beta else 0.0  # Σ⁺ + Σ⁻ = z

    @cached_property
    def branches(self) -> tuple[Branch, ...]:  # type: ignore[override]
        up = Branch(ACTIVATING, factor=self.alpha)
        return (up, Branch(INHIBITING, factor=-self.beta)) if self.beta else (up,)


@register("zplus", "z-plus")
@dataclass(frozen=True)
class ZPlus(Stabilised):
    """d_jk = (a_j w_jk)⁺ / Σ_j' (a_j' w_j'k)⁺, the bias in the pool. Source: Montavon et al. 2017.

    Alpha-beta with α = 1, β = 0. Conserves, up to neurons without a positive contribution: their relevance is a sink.
    """

    stabilizer: float = 0.0
    name = "zplus"
    branches = (Branch(ACTIVATING),)
