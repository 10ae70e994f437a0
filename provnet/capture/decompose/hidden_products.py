"""Ops that hide a product of several tensors: taken apart into the product, and what is done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half of `x` along `dim`, gated by the second."""
    value, gate = x.chunk(2, dim)
    return value * gate.sigmoid()


def trilinear(
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: list[int],
    expand2: list[int],
    expand3: list[int],
    sumdim: list[int],
    unroll_dim: int = 1,
) -> Tensor:
    """nn.Bilinear's kernel: the three tensors multiplied, each expanded along axes of its own, summed over `sumdim`.

    The first two are contracted first: in nn.Bilinear that is the linear map of the first input by the weight.
    """
    axes = "abcdefghijkl"[: first.dim() + len(expand1)]
    operands = (
        "".join(axis for i, axis in enumerate(axes) if i not in expanded) for expanded in (expand1, expand2, expand3)
    )
    result = "".join(axis for i, axis in enumerate(axes) if i not in sumdim)
    return torch.einsum(f"{','.join(operands)}->{result}", first, second, third)


def addcmul(x: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """x + value · first · second."""
    return torch.add(x, first * second, alpha=value)


def addcdiv(x: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """x + value · first / second."""
    return torch.add(x, first / second, alpha=value)


def lerp(start: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """start + weight · (end - start)."""
    return start + (end - start) * weight


def _plus(product: Tensor, x: Tensor, beta: float, alpha: float) -> Tensor:
    """beta · x + alpha · product, without the steps that change nothing."""
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return (x if beta == 1 else x * beta) + product


def addmm(x: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · x + alpha · first @ second; matrices with vectors likewise."""
    return _plus(first @ second, x, beta, alpha)


def addbmm(x: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · x + alpha · Σ_b first[b] @ second[b]."""
    return _plus((first @ second).sum(0), x, beta, alpha)


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Σ_i first[i] · second[i]."""
    return (first.unsqueeze(0) @ second.unsqueeze(1)).reshape(())


TABLE: dict[Any, Callable[..., Any]] = {
    aten.glu.default: glu,
    aten._trilinear.default: trilinear,
    aten.addcmul.default: addcmul,
    aten.addcdiv.default: addcdiv,
    aten.lerp.Tensor: lerp,
    aten.lerp.Scalar: lerp,
    aten.addmm.default: addmm,
    aten.baddbmm.default: addmm,
    aten.addmv.default: addmm,
    aten.addbmm.default: addbmm,
    aten.dot.default: dot,
    aten.vdot.default: dot,
}
FACTORS: dict[Any, tuple[int, ...]] = {
    aten.addmm.default: (1, 2),
    aten.baddbmm.default: (1, 2),
    aten.addmv.default: (1, 2),
    aten.addbmm.default: (1, 2),
}
"""Where the factors stand, behind an addend: with one of them traced, and it alone, these are affine maps that have
rules as they are."""


def applies(func: Any, args: tuple[Any, ...], is_active: Callable[[Tensor], bool]) -> bool:
    """Return whether an op of the table is to be taken apart."""
    factors = FACTORS.get(func)
    return factors is None or is_active(args[0]) or all(is_active(args[i]) for i in factors)
