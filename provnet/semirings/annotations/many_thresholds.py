"""Sixty-four thresholds at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.base import Semiring

SPREAD = tuple(10 ** (-9 + 9 * i / 63) for i in range(64))
"""From 1e-9 to 1, evenly in the exponent."""


@register("thresholds")
class Thresholds(Annotation):
    """Bit i of Θ(d) is [d >= θ_i], for up to 64 thresholds: for Bitset64, as many Boolean answers in one pass.

    Raises: `OptionError` for no or more than 64 thresholds, or one that is NaN. Source: the product of `Threshold`s.
    """

    def __init__(self, thetas: Sequence[float] = SPREAD) -> None:
        if not 1 <= len(thetas) <= 64:
            raise OptionError(f"there are {len(thetas)} thresholds; a set of 64 bits takes 1 to 64.")
        self.thetas = tuple(Threshold(theta).theta for theta in thetas)

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        if dtype != torch.int64:
            raise OptionError(
                f"{self.name!r} sets bits of int64, the semiring {semiring.name!r} takes {dtype}: use bitset64."
            )
        found = torch.zeros(edges.d.shape, dtype=dtype, device=edges.d.device)
        for i, theta in enumerate(self.thetas):
            found |= Threshold(theta).passes(edges.d).to(dtype) << i
        return found
