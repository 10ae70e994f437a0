"""Class against class: what is relevant for one target and not, or less, for another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from provnet.errors import UnsupportedOperationError
from provnet.face import Circuit, Targets
from provnet.semirings.lookup import get


@dataclass(frozen=True, eq=False)
class Contrast:
    """Relevance for two targets, and their differences by the semiring's monus, like the source."""

    target: Tensor
    against: Tensor
    more: Tensor
    """target ∸ against: in Real the difference, in Boolean what is relevant for the target alone."""
    less: Tensor
    """against ∸ target."""


def contrast(
    circuit: Circuit, target: Any, against: Any, semiring: Any = "real", at: str | None = None, **options: Any
) -> Contrast:
    """Return what speaks for `target` rather than for `against`, at the source or at the tensor `at`, from one walk.

    In Real `more` is relevance for the weighting target − against. `options` go to `Circuit.evaluate`.
    Raises: `UnsupportedOperationError` in a semiring without monus. Source: Gu et al. 2018, Understanding Individual
    Decisions of CNNs via Contrastive Backpropagation.
    """
    algebra = get(semiring)
    if not algebra.offers("monus"):
        raise UnsupportedOperationError(f"{algebra.name!r} has no monus to contrast by; take real, boolean or viterbi.")
    result = circuit.evaluate(algebra, Targets(target, against), **options)
    first, second = result.inputs if at is None else result[at]
    return Contrast(first, second, algebra.monus(first, second), algebra.monus(second, first))
