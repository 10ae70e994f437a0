"""Semirings as a page needs them: which are shown at once, how two of their elements join, which is the stronger."""

from __future__ import annotations

from typing import Any

import torch

from provnet.applications.inspection.model import Algebra
from provnet.semirings import annotations
from provnet.semirings import get as get_semiring
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.base import Semiring

SIDE_BY_SIDE = ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck")
"""The semirings in which a neuron is shown at once."""

JOINS = {
    "sum-product": "sum",
    "max-times": "max",
    "max-plus": "max",
    "max-min": "max",
    "min-plus": "min",
    "min-max": "min",
    "or-and": "or",
}
"""How ⊕ joins two numbers, by a semiring's family."""


def algebra_of(name: str, semiring: Semiring) -> Algebra:
    """Return what a page needs to know of a semiring, under the name that it has there."""
    zero: Any = semiring.zero.item() if isinstance(semiring.zero, torch.Tensor) else semiring.zero
    return Algebra(
        name=name,
        question=semiring.question,
        plus=JOINS.get(semiring.family or "", ""),
        selective=semiring.selective,
        ring=semiring.ring,
        zero=zero,
        theta=thresholded(semiring),
        costs=costs(semiring),
    )


def thresholded(semiring: Semiring) -> bool:
    """Return whether a semiring's own annotation function is a threshold."""
    return isinstance(annotations.resolve(None, semiring), Threshold)


def costs(semiring: Semiring) -> bool:
    """Return whether the smaller of two elements is the stronger: zero, the weakest, is above one."""
    return float(semiring.zero) > float(semiring.one)


def semiring_called(name: str) -> Semiring:
    """Return the semiring that a name means here: counts go on as floats where they exceed a word."""
    return get_semiring(name).held("promote")
