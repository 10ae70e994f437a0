"""How much of a real-valued answer is cancellation: supporting and opposing paths counted apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from provnet.errors import OptionError
from provnet.face.circuit import Circuit
from provnet.face.relevance import Relevance
from provnet.semirings.signed import Signed


@dataclass(frozen=True)
class Cancellation:
    """For each input neuron: `supporting` P and `opposing` N path mass, both ≥ 0. P − N is the classical relevance.

    ratio   (P + N) / |P − N|: 1 if all paths agree; 20 if the net value is a twentieth of what moves through the
            network; infinite where equal masses cancel; 1 where there is no path
    """

    supporting: Tensor
    opposing: Tensor
    ratio: Tensor

    @property
    def net(self) -> Tensor:
        """P − N, the relevance in Real."""
        return self.supporting - self.opposing

    @property
    def median(self) -> float:
        """The median ratio over neurons that have a path; 1 if none has."""
        alive = self.ratio[self.supporting + self.opposing > 0]
        return float(alive.median()) if alive.numel() else 1.0

    def __str__(self) -> str:
        alive = int((self.supporting + self.opposing > 0).sum())
        return f"path mass is {self.median:.3g} times the net value (median over the {alive} neurons that have a path)"


def cancellation(
    question: Circuit | Relevance, target: Any = "predicted", rule: Any = "zero", **options: Any
) -> Cancellation:
    """Return the cancellation of the real answer to the same question, at the inputs.

    Definition: relevance in Signed(NonNegative), |d| filed by the sign of d: P and N are the ⊕ of Π |d| over the paths
    with an even and an odd number of negative edges. P − N is the value in Real, for (P, N) ↦ P − N is a homomorphism
    from the group semiring ℝ≥0[ℤ/2] to ℝ. Source: Golan 1999; the two channels of signed LRP shares, [Bach15].
    `question`: a circuit (`options` go to `Circuit.evaluate`), or a result that was evaluated in Signed.
    """
    if isinstance(question, Circuit):
        answer: Relevance = question.evaluate(Signed(), target=target, rule=rule, **options)
        question = answer
    semiring = question.semiring
    if not isinstance(semiring, Signed):
        raise OptionError(
            f"the result is in {semiring.name!r}, where both signs are one number: evaluate in Signed(), or give the "
            "circuit."
        )
    pair = question.inputs
    supporting, opposing = semiring.split(pair)
    return Cancellation(supporting, opposing, semiring.cancellation(pair))
