"""When are two tensor objects one value? When they show the same places of the same storage in the same order."""

from __future__ import annotations

from collections.abc import Hashable
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor


class StorageGeometry(NamedTuple):
    """Which places of its storage a tensor shows, and in which order; counted in elements."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


def geometry(tensor: Tensor) -> StorageGeometry:
    """Return a tensor's geometry."""
    return StorageGeometry(int(tensor.storage_offset()), tensor.shape, tensor.stride(), tensor.dtype)


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor is an ordinary strided one: neither sparse nor nested nor of a backend's own layout."""
    return tensor.layout is torch.strided and not tensor.is_nested


def as_pairs(tensor: Tensor) -> Tensor:
    """Return the real tensor over the memory of a complex one, with an axis of two behind the others."""
    return torch.view_as_real(tensor.conj() if tensor.is_conj() else tensor)


def storage_key(tensor: Tensor) -> Hashable:
    """Return what names a tensor's storage as long as that is alive: its address.

    The address, and not the storage object: a tensor that went through numpy has another object over the same memory.
    """
    storage = tensor.untyped_storage()
    return storage.data_ptr() or ("empty", storage._cdata)


def show(storage: torch.UntypedStorage, where: StorageGeometry) -> Tensor:
    """Return the tensor that `storage` shows through a geometry."""
    empty = torch.empty(0, dtype=where.dtype, device=storage.device)
    return empty.set_(storage, where.offset, where.shape, where.stride)


def places(storage: torch.UntypedStorage, dtype: torch.dtype) -> int:
    """Return how many elements of `dtype` a storage holds."""
    return storage.nbytes() // dtype.itemsize


def flat(storage: torch.UntypedStorage, dtype: torch.dtype) -> StorageGeometry:
    """Return the geometry that shows the whole storage as a vector."""
    return StorageGeometry(0, (places(storage, dtype),), (1,), dtype)


def is_whole(where: StorageGeometry, storage: torch.UntypedStorage) -> bool:
    """Return whether a geometry shows every place of the storage just once."""
    if where.offset or prod(where.shape) != places(storage, where.dtype):
        return False
    expected = 1
    for stride, size in sorted((t, s) for s, t in zip(where.shape, where.stride, strict=True) if s > 1):
        if stride != expected:
            return False
        expected *= size
    return True


def _extent(where: StorageGeometry) -> tuple[int, int]:
    """Return the first place and the place after the last; equal if there is none."""
    if 0 in where.shape:
        return where.offset, where.offset
    last = where.offset + sum((s - 1) * t for s, t in zip(where.shape, where.stride, strict=True))
    return where.offset, last + 1


def overlap(first: StorageGeometry, second: StorageGeometry) -> bool:
    """Return whether two geometries of one dtype and one storage share a place.

    Exact, for the chunks of a gate tensor interleave: by their extents alone they would seem to overlap.
    """
    (a, b), (c, d) = _extent(first), _extent(second)
    if a == b or c == d or b <= c or d <= a:
        return False
    if first == second:
        return True
    low, high = min(a, c), max(b, d)
    marks = torch.zeros(high - low, dtype=torch.bool)
    marks.as_strided(first.shape, first.stride, first.offset - low).fill_(True)
    return bool(marks.as_strided(second.shape, second.stride, second.offset - low).any())


def numbering(base: StorageGeometry, storage: torch.UntypedStorage) -> Tensor:
    """Return for each place of the storage the row-major number of the element that a whole `base` shows there."""
    numbers = torch.empty(places(storage, base.dtype), dtype=torch.int64, device=storage.device)
    count = torch.arange(prod(base.shape), device=storage.device).view(base.shape)
    numbers.as_strided(base.shape, base.stride, base.offset).copy_(count)
    return numbers
