"""Solutions of linear systems as products with the inverse, which is what a solution is a linear map by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _times(inverse: Tensor, b: Tensor, left: bool = True) -> Tensor:
    return inverse @ b if left else b @ inverse


def solve(a: Tensor, b: Tensor, *, left: bool = True, check_errors: bool = False) -> tuple[Tensor, ...]:
    """A⁻¹ B, or B A⁻¹; of a vector b likewise. Without autograd, that no system was singular is said as torch does."""
    inverse = torch.linalg.inv(a)
    vector = b.dim() == 1 or (a.dim() - 1 == b.dim() and b.shape == a.shape[:-1])
    found = _times(inverse, b.unsqueeze(-1)).squeeze(-1) if vector else _times(inverse, b, left)
    if torch.is_grad_enabled():
        return (found,)
    sound = torch.zeros(a.shape[:-2], dtype=torch.int32, device=a.device)  # inv has refused a singular matrix
    return found, a.new_empty(0), sound.new_empty(0), sound


def _triangle(a: Tensor, upper: bool, unitriangular: bool) -> Tensor:
    part = a.triu() if upper else a.tril()
    if unitriangular:
        eye = torch.eye(a.shape[-1], dtype=torch.bool, device=a.device)
        part = torch.where(eye, 1, part)
    return part


def solve_triangular(a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """A⁻¹ B, or B A⁻¹, of a triangular A."""
    return _times(torch.linalg.inv(_triangle(a, upper, unitriangular)), b, left)


def old_triangular_solve(
    b: Tensor, a: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Tensor, Tensor]:
    """The same by its older name: (solution, A)."""
    inverse = torch.linalg.inv(_triangle(a, upper, unitriangular))
    return (inverse.mT if transpose else inverse) @ b, a.clone()


def cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    """(L Lᵀ)⁻¹ B."""
    inverse = torch.linalg.inv(_triangle(factor, upper, False))
    return inverse @ (inverse.mT @ b) if upper else inverse.mT @ (inverse @ b)


def cholesky_inverse(factor: Tensor, upper: bool = False) -> Tensor:
    """(L Lᵀ)⁻¹."""
    inverse = torch.linalg.inv(_triangle(factor, upper, False))
    return inverse @ inverse.mT if upper else inverse.mT @ inverse


TABLE: dict[Any, Callable[..., Any]] = {
    aten._linalg_solve_ex.default: solve,
    aten.linalg_solve_triangular.default: solve_triangular,
    aten.triangular_solve.default: old_triangular_solve,
    aten.cholesky_solve.default: cholesky_solve,
    aten.cholesky_inverse.default: cholesky_inverse,
}
