"""How to read golden_tiny.npz: exact expected relevances, one question and its values at a time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Question:
    """What was asked of the 3-4-3-2 network. `theta` is the default where the semiring has none."""

    example: int
    target: int
    semiring: str
    theta: float
    rule: str


def entries(golden: dict[str, np.ndarray]) -> dict[Question, dict[str, np.ndarray]]:
    """Return for each question its values by name: R0…R3, bias0…bias2, messages0…messages2 ([out, in], bias last)."""
    found: dict[Question, dict[str, np.ndarray]] = defaultdict(dict)
    for key, value in golden.items():
        example, *rest = key.split("|")
        if len(rest) < 4:
            continue  # weights, inputs and activations
        target, semiring, *theta, rule, name = rest
        level = float(theta[0].removeprefix("theta")) if theta else 1e-9
        question = Question(int(example[1:]), int(target.removeprefix("target")), semiring, level, rule)
        found[question][name] = value
    return dict(found)


def matches(found: Any, wanted: np.ndarray, tolerance: float = 1e-12) -> bool:
    """Return whether two arrays agree: integers and booleans exactly, floats to `tolerance` of the largest entry.

    Infinities must stand at the same places with the same signs; a NaN never agrees.
    """
    found = np.asarray(found)
    if found.shape != wanted.shape:
        return False
    if wanted.dtype.kind in "bi":
        return bool((found == wanted).all())
    finite = np.isfinite(wanted)
    if not (np.isfinite(found) == finite).all():
        return False
    scale = np.abs(wanted[finite]).max(initial=0.0)
    near = np.abs(found[finite] - wanted[finite]) <= tolerance * scale
    return bool(near.all() and (found[~finite] == wanted[~finite]).all())
