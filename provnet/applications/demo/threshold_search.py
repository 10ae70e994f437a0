"""Which threshold tells classes apart: a search that one Bottleneck evaluation answers for every θ at once.

A pixel is Boolean-relevant at θ just if its Bottleneck value is at least θ. At θ = 1e-9 nearly every pixel with ink is
relevant, so the answer only repeats the digit; at a large θ none is. The search takes the θ at which it is most likely
that the answers for two digits of one class have more in common than those for two digits of different classes.
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

    apart             how likely it is that two digits of one class have more in common than two of different classes
                      (the area under the curve of receiver operating characteristics): 0.5 says nothing, 1 is certain
    same, different   the mean share of pixels that two digits' answers have in common, of those that either has:
                      for digits of the same class, and of different classes
    relevant          the share of ink that is relevant
    """

    grid: tuple[float, ...]
    apart: tuple[float, ...]
    same: tuple[float, ...]
    different: tuple[float, ...]
    relevant: tuple[float, ...]
    digits: int

    @property
    def best(self) -> int:
        """The place of the chosen θ in the grid: where `apart` is largest, the smallest such θ."""
        return max(range(len(self.grid)), key=lambda k: self.apart[k])

    @property
    def theta(self) -> float:
        return self.grid[self.best]


def search(circuit: Circuit, ink: Tensor, labels: NDArray[np.int64]) -> Search:
    """Return what each θ of the grid makes of the digits that `circuit` holds, explained for the class they are given.

    `ink` [batch, inputs] marks the pixels that are not paper; `labels` [batch] says which digits are of one class.
    """
    widest = circuit.evaluate("bottleneck").inputs  # [batch, inputs], serves all of the grid
    classes = torch.from_numpy(labels)
    pairs = ~torch.eye(len(classes), dtype=torch.bool)
    alike = classes[:, None] == classes[None, :]
    columns: list[tuple[float, ...]] = []
    for theta in GRID:
        found = widest >= theta
        common = in_common(found)
        same, different = common[alike & pairs], common[~alike]
        columns.append(
            (apart(same, different), float(same.mean()), float(different.mean()), float(found[ink].double().mean()))
        )
    return Search(GRID, *zip(*columns, strict=True), digits=len(classes))


def apart(same: Tensor, different: Tensor) -> float:
    """Return how likely an entry of `same` is larger than one of `different`; equal ones count half."""
    order = different.sort().values
    below = torch.searchsorted(order, same, right=False)
    upto = torch.searchsorted(order, same, right=True)
    return float((below + upto).double().mean()) / (2 * len(different))


def in_common(masks: Tensor) -> Tensor:
    """Return the Jaccard index of every two masks of [n, inputs], [n, n]: the size of their intersection by that of
    their union, 0 for two empty ones."""
    ones = masks.double()
    both = ones @ ones.T
    size = ones.sum(1)
    return both / (size[:, None] + size[None, :] - both).clamp(min=1)
