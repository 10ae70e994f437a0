"""Which threshold tells classes apart: a search that one Bottleneck evaluation answers for every θ at once.

A pixel is Boolean-relevant at θ just if its Bottleneck value is at least θ. At θ = 1e-9 nearly every pixel with ink is
relevant for every class, at a large θ none is for any; both say nothing about the class. The search takes the θ at which
it is most likely that a pixel of ink, taken at random, reaches the class that the network names but not another class,
taken at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from provnet.face import Circuit, Targets

GRID = tuple(float(f"{10 ** (k / 12 - 4):.2g}") for k in range(43))
"""From 0.0001 to 0.32, twelve to a decade, two digits each."""


@dataclass(frozen=True)
class Search:
    """What the search saw, for each θ of its grid, and its choice.

    apart      how likely a pixel of ink reaches the named class but not another class
    named      how likely it reaches the named class;  others: another class
    """

    grid: tuple[float, ...]
    apart: tuple[float, ...]
    named: tuple[float, ...]
    others: tuple[float, ...]
    digits: int

    @property
    def best(self) -> int:
        """The place of the chosen θ in the grid: the largest `apart`, the smallest such θ."""
        return max(range(len(self.grid)), key=lambda k: self.apart[k])

    @property
    def theta(self) -> float:
        return self.grid[self.best]


def search(circuit: Circuit, ink: Tensor) -> Search:
    """Return what each θ of the grid leaves of the pixels where `ink` [batch, inputs] is True.

    One evaluation with a result for each class serves all of the grid.
    """
    logits = circuit.outputs[0]
    classes, named = logits.shape[1], logits.argmax(1)
    widest = circuit.evaluate("bottleneck", target=Targets(*range(classes))).inputs  # [classes, batch, inputs]
    own = widest[named, torch.arange(len(named), device=widest.device)][ink]
    columns: list[tuple[float, float, float]] = []
    for theta in GRID:
        mine = (own >= theta).double()
        others = ((widest >= theta).double().sum(0)[ink] - mine) / (classes - 1)
        columns.append((float((mine * (1 - others)).mean()), float(mine.mean()), float(others.mean())))
    apart, mine, others = zip(*columns, strict=True)
    return Search(GRID, apart, mine, others, len(ink))
