"""What a result remembers of its question, for people: what was explained, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from provnet.circuit.conventions import DEFAULT, NAMES, Conventions
from provnet.circuit.gates import Neuron
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring

SHOWN = 8
"""Examples whose targets are printed."""


@dataclass(frozen=True, eq=False)
class Question:
    """One question to a circuit.

    target    as it was asked, such as "predicted".   output   the name of the explained output.
    numbers   for each target the explained neuron of each example, row-major; None where the target is a weighting.
    shape     of one example of the output.
    classes   the names of the output's entries, if they were given.
    start     "one", "logit" or elements.
    """

    semiring: Semiring
    rule: Rule
    annotation: Annotation
    target: Any
    output: str
    numbers: tuple[Sequence[int] | None, ...]
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    start: Any
    conventions: Conventions

    @cached_property
    def targets(self) -> tuple[tuple[Neuron, ...] | None, ...]:
        """For each target the explained neuron of each example; None where the target is a weighting."""
        return tuple(None if one is None else _neurons(one, self.output, self.shape) for one in self.numbers)

    def explained(self, target: int = 0) -> list[str]:
        """Return for each example what is explained: the neuron's name, with its class's name if there is one.

        target   which of several targets, in their order.
        """
        neurons = self.targets[target]
        return ["a weighting of the output"] if neurons is None else [self._named(neuron) for neuron in neurons]

    def _named(self, neuron: Neuron) -> str:
        if not self.classes or not neuron.index:
            return str(neuron)
        return f"{neuron} ({self.classes[neuron.index[-1]]})"

    def __str__(self) -> str:
        """Return the question in one line."""
        targets = [_joined(self.explained(number)) for number in range(len(self.targets))]
        asked = " as predicted" if isinstance(self.target, str) and self.target == "predicted" else ""
        start = self.start if isinstance(self.start, str) else "given elements"
        changed = [f"{n}={getattr(self.conventions, n)!r}" for n in NAMES]
        plain = [f"{n}={getattr(DEFAULT, n)!r}" for n in NAMES]
        others = [one for one, usual in zip(changed, plain, strict=True) if one != usual]
        parts = [
            f"{' and '.join(targets)}{asked}",
            f"in {self.semiring.name}",
            f"rule {self.rule!r}",
            f"Θ {self.annotation!r}",
            f"start {start}",
        ]
        return ", ".join([*parts, *others])


def _joined(names: Sequence[str]) -> str:
    if len(set(names)) == 1:
        return names[0]
    more = f" … ({len(names)} examples)" if len(names) > SHOWN else ""
    return " | ".join(names[:SHOWN]) + more


def _neurons(numbers: Sequence[int], output: str, shape: tuple[int, ...]) -> tuple[Neuron, ...]:
    """Return the explained neurons, one an example, from their row-major numbers."""
    places = np.stack(np.unravel_index(numbers, shape), 1).tolist() if shape else [()] * len(numbers)
    # A batch of thousands names few neurons: each is made once.
    made = {place: Neuron(output, place) for place in set(map(tuple, places))}
    return tuple(made[tuple(place)] for place in places)
