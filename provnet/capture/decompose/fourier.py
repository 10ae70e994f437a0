"""Fourier transforms as linear maps of pairs of real numbers, whose matrices are torch's own transforms of the unit
vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from provnet.capture.decompose.complex_parts import complex_of

aten = torch.ops.aten

_MATRICES: dict[Any, tuple[StorageWeakRef, torch.Size]] = {}
"""The matrices of transforms that some circuit still holds: layers of one length share theirs."""


def _matrix(key: Any, like: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """Return the matrix [inputs, outputs] of a transform, made by torch's own on the unit vectors."""
    full = (*key, like.dtype, like.device)
    reference, shape = _MATRICES.get(full, (None, None))
    if reference is not None and shape is not None:
        storage = torch.UntypedStorage._new_with_weak_ptr(reference.cdata)
        if storage is not None:
            return torch.empty(0, dtype=like.dtype, device=like.device).set_(storage, 0, shape, (shape[1], 1))
    found = make().contiguous()
    _MATRICES[full] = StorageWeakRef(found.untyped_storage()), found.shape
    return found


def _units(x: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=x.dtype, device=x.device)


def _unit_pairs(x: Tensor, size: int) -> Tensor:
    """Return the unit vectors of `size` pairs, as complex vectors [2 size, size]."""
    return torch.view_as_complex(_units(x, 2 * size).reshape(2 * size, size, 2))


def _mapped(x: Tensor, matrix: Tensor) -> Tensor:
    """Return the last axis of x through a matrix."""
    return torch.nn.functional.linear(x, matrix.mT)


def real_to_complex(x: Tensor, dims: Sequence[int], normalization: int, onesided: bool) -> Tensor:
    """A Fourier transform of real numbers, the half of it that says all, or the whole, along the last of `dims`."""
    *others, dim = dims
    size = x.shape[dim]

    def make() -> Tensor:
        return torch.view_as_real(aten._fft_r2c(_units(x, size), [1], normalization, onesided)).flatten(1)

    found = _mapped(x.movedim(dim, -1), _matrix(("r2c", size, normalization, onesided), x, make))
    found = complex_of(found.unflatten(-1, (-1, 2))).movedim(-1, dim)
    return complex_to_complex(found, others, normalization, True) if others else found


def complex_to_complex(x: Tensor, dims: Sequence[int], normalization: int, forward: bool) -> Tensor:
    """A Fourier transform, or its inverse, one axis after the other."""
    pairs = torch.view_as_real(x.resolve_conj())
    for dim in dims:
        axis = dim % x.dim()
        size = x.shape[axis]

        def make(size: int = size, like: Tensor = pairs) -> Tensor:
            return torch.view_as_real(aten._fft_c2c(_unit_pairs(like, size), [1], normalization, forward)).flatten(1)

        rows = pairs.movedim(axis, -2)
        found = _mapped(rows.flatten(-2), _matrix(("c2c", size, normalization, forward), pairs, make))
        pairs = found.unflatten(-1, (size, 2)).movedim(-2, axis)
    return complex_of(pairs)


def complex_to_real(x: Tensor, dims: Sequence[int], normalization: int, last_dim_size: int) -> Tensor:
    """The inverse of a half transform along the last of `dims`, and of whole ones along the others before."""
    *others, dim = dims
    x = complex_to_complex(x, others, normalization, False) if others else x
    pairs = torch.view_as_real(x.resolve_conj())
    axis = dim % x.dim()
    size = x.shape[axis]

    def make() -> Tensor:
        return aten._fft_c2r(_unit_pairs(pairs, size), [1], normalization, last_dim_size)

    rows = pairs.movedim(axis, -2).flatten(-2)
    return _mapped(rows, _matrix(("c2r", size, normalization, last_dim_size), pairs, make)).movedim(-1, axis)
