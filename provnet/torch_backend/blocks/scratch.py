"""Memory that is used again and again: fresh pages cost more than what is written to them."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

LARGEST = 32 << 20
"""Bytes above which memory is not kept: two layers of VGG-16 for one image."""


class Scratch:
    """One buffer for each use, dtype and device, as large as the largest that was asked for."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, shape: tuple[int, ...] | torch.Size, like: Tensor, use: str) -> Tensor:
        """Return uninitialised memory of a shape, dtype and device. It is valid until the next call for this use."""
        size = prod(shape)
        if size * like.element_size() > LARGEST:
            return torch.empty(shape, dtype=like.dtype, device=like.device)
        key = use, like.dtype, like.device
        held = self._held.get(key)
        if held is None or held.numel() < size:
            held = self._held[key] = torch.empty(size, dtype=like.dtype, device=like.device)
        return held[:size].view(shape)


def take(scratch: Scratch | None, shape: tuple[int, ...] | torch.Size, like: Tensor, use: str) -> Tensor:
    """Return scratch memory, or fresh memory where there is no scratch."""
    if scratch is None:
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    return scratch.take(shape, like, use)
