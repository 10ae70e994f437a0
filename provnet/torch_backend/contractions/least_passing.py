"""Which contributions pass a threshold, said without a division: fl(p / z) >= θ exactly if p >= P(z) (z > 0)."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.torch_backend.blocks.extent import DivisorRange

SAFE = 1e-30
"""A |θ| or a |z θ| below this may meet denormal quotients, whose neighbours are not near them."""


def least_passing(z: Tensor, theta: float, strict: bool) -> Tensor:
    """Return for each z > 0 the least float P with fl(P / z) >= θ (> θ if `strict`), of the shape of z.

    Division is monotone, also after rounding, so such a P exists and decides for every contribution. It is at most two
    floats from fl(θ z): θ and z must be normal numbers, and so must their product be.
    """
    step = torch.full((), torch.inf, dtype=z.dtype, device=z.device)
    candidate = theta * z
    for _ in range(3):
        candidate = torch.nextafter(candidate, -step)
    found = torch.full_like(z, torch.inf)
    for _ in range(7):
        quotient = candidate / z
        passes = quotient > theta if strict else quotient >= theta
        found = torch.where(passes & (candidate < found), candidate, found)
        candidate = torch.nextafter(candidate, step)
    return found


def decidable(z: DivisorRange, theta: float, dtype: torch.dtype) -> bool:
    """Return whether `least_passing` may be asked for such z."""
    size = abs(theta)
    return SAFE < size < 1 / SAFE and z.least * size > SAFE and z.most * size < torch.finfo(dtype).max
