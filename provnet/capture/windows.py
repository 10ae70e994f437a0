"""The two index maps that stand for reads and writes through views, in a form that can be replayed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def read_window(base: Tensor, index: Tensor) -> Tensor:
    """Return z with z[i] = base.flat[index[i]]; `index` has the shape of z, and counts `base` row-major."""
    return base.reshape(-1)[index]


def write_window(base: Tensor, indices: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    """Return a copy of `base` with each of `values`, one after the other, written to the places that `indices` name.

    `indices[n]` has the shape of `values[n]`, and counts `base` row-major.
    """
    result = base.reshape(-1).clone()
    for index, value in zip(indices, values, strict=True):
        result[index.reshape(-1)] = value.reshape(-1).to(result.dtype)
    return result.reshape(base.shape)
