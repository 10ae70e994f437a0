"""p / z with a derivative that is never 0/0: where no coefficient is defined, it is the constant 0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def quotient(p: Tensor, z: Tensor) -> Tensor:
    """Return p / z where that is a finite number, else 0; differentiable, twice too.

    torch's own division gives NaN for a gradient as soon as some z is 0, even if what came of it is thrown away. Near 0
    a derivative may leave the floats: it is then infinite, not NaN.
    """
    return _Quotient.apply(*torch.broadcast_tensors(p, z))  # type: ignore[no-any-return]


class _Quotient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, z: Tensor) -> Tensor:
        ctx.save_for_backward(p, z)
        d = p / z
        return torch.where(torch.isfinite(d), d, torch.zeros_like(d))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        """∂d/∂p = 1/z, ∂d/∂z = −d/z, by operations that can be differentiated again."""
        p, z = ctx.saved_tensors
        defined = torch.isfinite(p / z).detach()
        p, z = torch.where(defined, p, torch.zeros_like(p)), torch.where(defined, z, torch.ones_like(z))
        to_p = torch.where(defined, upstream[0], torch.zeros_like(p)) / z
        # p = 0 has the derivative 0 in z, also where 1/z overflows.
        to_z = -torch.where(torch.isfinite(to_p) | (p != 0), to_p, torch.zeros_like(p)) * (p / z)
        return to_p, to_z
