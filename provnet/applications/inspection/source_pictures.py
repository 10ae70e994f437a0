"""Sources as pictures, for a page to draw: the input, and where each pixel's neuron lies."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provnet.applications.inspection.model import Picture


def picture_of(
    layer: int,
    shape: tuple[int, ...],
    values: NDArray[np.float64],
    relevance: Mapping[str, NDArray[Any]],
) -> Picture:
    """Return a source of any shape as channels of pictures; a row of n² numbers is taken for a square.

    [C, H, W] keeps its channels; [H, W] is one; a row of n is [1, n]; more axes than three are joined
    into the height.
    """
    if len(shape) >= 3:
        channels, height, width = shape[0], int(np.prod(shape[1:-1])), shape[-1]
    elif len(shape) == 2:
        channels, (height, width) = 1, shape
    else:
        size = int(np.prod(shape))
        side = isqrt(size)
        channels, height, width = 1, *((side, side) if side > 2 and side * side == size else (1, size))
    shown = {name: tuple(held.tolist()) for name, held in relevance.items()}
    return Picture(layer, channels, height, width, tuple(values.tolist()), shown)
