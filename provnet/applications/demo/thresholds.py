"""Which threshold tells classes apart: a search that one Bottleneck evaluation answers for every θ at once.

A pixel is Boolean-relevant at θ just if its Bottleneck value is at least θ. At θ = 1e-9 nearly every pixel with ink is
relevant, so the answer only repeats the digit; at a large θ none is. The search takes the θ at which the answers for two
digits of one class have more in common, beyond those for two digits of different classes, than at any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.face import Circuit

GRID = tuple(float(f"{10 ** (k / 12 - 4):.2g}") for k in range(43))
"""From 0.0001 to 0.32, twelve to a decade, two digits each."""


@dataclass(frozen=True)
class Search:
    """What the search saw, for each θ of its grid, and its choice.

    same, different   the mean share of pixels that the answers for two digits have in common (of those that either has):
                      for digits of the same class, and of different classes
    relevant          the share of ink that is relevant
    """

    grid: tuple[float, ...]
    same: tuple[float, ...]
    different: tuple[float, ...]
    relevant: tuple[float, ...]
    digits: int

    @property
    def apart(self) -> tuple[float, ...]:
        """How much more digits of one class have in common."""
        return tuple(s - d for s, d in zip(self.same, self.different, strict=True))

    @property
    def best(self) -> int:
        """The place of the chosen θ in the grid: where `apart` is largest, the smallest such θ."""
        return max(range(len(self.grid)), key=lambda k: self.apart[k])

    @property
    def theta(self) -> float:
        return self.grid[self.best]


def search(circuit: Circuit, ink: Tensor, labels: NDArray[np.int64]) -> Search:
    """Return what each θ of the grid makes of the digits that `circuit` holds, each explained for the class it is given.

    `ink` [batch, inputs] marks the pixels that are not paper; `labels` [batch] says which digits are of one class.
    """
    widest = circuit.evaluate("bottleneck").inputs  # [batch, inputs], serves all of the grid
    classes = torch.from_numpy(labels)
    pairs = ~torch.eye(len(classes), dtype=torch.bool)
    alike = classes[:, None] == classes[None, :]
    columns: list[tuple[float, float, float]] = []
    for theta in GRID:
        found = widest >= theta
        common = in_common(found)
        shares = common[alike & pairs].mean(), common[~alike].mean(), found[ink].double().mean()
        columns.append((float(shares[0]), float(shares[1]), float(shares[2])))
    same, different, relevant = zip(*columns, strict=True)
    return Search(GRID, same, different, relevant, len(classes))


def in_common(masks: Tensor) -> Tensor:
    """Return the Jaccard index of every two masks of [n, inputs], [n, n]: the size of their intersection by that of
    their union, 0 for two empty ones."""
    ones = masks.double()
    both = ones @ ones.T
    size = ones.sum(1)
    return both / (size[:, None] + size[None, :] - both).clamp(min=1)
