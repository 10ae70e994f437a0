"""Which threshold tells classes apart: a search that one Bottleneck evaluation answers for every θ at once.

A pixel is Boolean-relevant at θ just if its Bottleneck value is at least θ. At θ = 1e-9 nearly every pixel with ink is
relevant for every class, at a large θ none is for any; both say nothing about the class. Between them lies the θ at which
two classes disagree most often.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from provnet.face import Circuit, Targets

GRID = tuple(round(10 ** (k / 10 - 4), 6) for k in range(36))
"""From 0.0001 to 0.3, ten to a decade."""


@dataclass(frozen=True)
class Search:
    """What the search saw: for each θ the disagreement of classes and the share of ink that is relevant; and its choice."""

    grid: tuple[float, ...]
    disagreement: tuple[float, ...]
    relevant: tuple[float, ...]
    digits: int

    @property
    def best(self) -> int:
        """The place of the chosen θ in the grid: the largest disagreement, the smallest such θ."""
        return max(range(len(self.grid)), key=lambda k: self.disagreement[k])

    @property
    def theta(self) -> float:
        return self.grid[self.best]


def search(circuit: Circuit, ink: Tensor, classes: int = 10) -> Search:
    """Return how often two classes disagree about a pixel of ink, for each θ of the grid.

    `ink` [batch, inputs] marks the pixels that count. One evaluation with a result for each class serves all of the grid.
    """
    widest = circuit.evaluate("bottleneck", target=Targets(*range(classes))).inputs  # [classes, batch, inputs]
    disagreement, relevant = [], []
    for theta in GRID:
        votes = (widest >= theta).double().mean(0)[ink]  # the share of classes for which the pixel is relevant
        # Two different classes: the chance that one of them says yes and the other no.
        disagreement.append(float((2 * votes * (1 - votes)).mean()) * classes / (classes - 1))
        relevant.append(float(votes.mean()))
    return Search(GRID, tuple(disagreement), tuple(relevant), len(ink))
