"""Lay operands out for the Triton kernels: whole steps and tiles, so that the inner loop needs no masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from provnet.torch_backend.contractions.base import Direction, Operands
from provnet.torch_backend.contractions.geometry import Geometry

ALIGNED = 16
"""Rows begin on multiples of so many numbers: loads of several at once need it."""


@dataclass(frozen=True)
class ContractionEnds:
    """A geometry seen from one direction: `channels` and `places` of the near ends, `far` and `far_places` beyond."""

    groups: int
    channels: int
    far: int
    places: int
    far_places: int

    @classmethod
    def of(cls, geometry: Geometry, direction: Direction) -> ContractionEnds:
        g = geometry
        if direction == "pull":
            return cls(g.groups, g.near, g.far, g.places, g.positions)
        return cls(g.groups, g.far, g.near, g.positions, g.places)


def columns_of(ends: ContractionEnds, rows: int) -> int:
    """Return how many far columns a row of scalars has: at least one more than there are, which stands for none."""
    return (rows * ends.far_places // ALIGNED + 1) * ALIGNED


def packed_scalar(values: Tensor, ends: ContractionEnds, rows: int, far: int, fill: float | int) -> Tensor:
    """Return [rows, groups, far, far places] as [groups, far, columns], `fill` where nothing stands."""
    out = values.new_full((ends.groups, far, columns_of(ends, rows)), fill)
    by_row = values.reshape(rows, ends.groups, ends.far, ends.far_places)
    held = out[:, : ends.far, : rows * ends.far_places].unflatten(2, (rows, ends.far_places))
    held.copy_(by_row.permute(1, 2, 0, 3))
    return out


def packed_weights(operands: Operands, ends: ContractionEnds, far: int, tile: int) -> Tensor:
    """Return the weights as [groups, taps, far, channels], the last two filled up by zeros to `far` and whole tiles.

    Not copied if they lie so: a dense layer's, pulled.
    """
    g = operands.geometry
    lying = operands.weights.reshape(g.groups, g.far, g.near, g.taps)
    wanted = lying.permute(0, 3, 1, 2) if operands.direction == "pull" else lying.permute(0, 3, 2, 1)
    step = max(tile, ALIGNED)
    channels = -(-ends.channels // step) * step
    aligned = wanted.data_ptr() % (ALIGNED * wanted.element_size()) == 0
    if (far, channels) == tuple(wanted.shape[2:]) and wanted.is_contiguous() and aligned:
        return wanted
    out = wanted.new_zeros((g.groups, g.taps, far, channels))
    out[:, :, : ends.far, : ends.channels].copy_(wanted)
    return out


@lru_cache(maxsize=64)
def table_on(geometry: Geometry, direction: Direction, device: torch.device) -> Tensor:
    """Return where each tap of a near place finds its far place, [taps, places] int32; kept by device."""
    table = geometry.pulling() if direction == "pull" else geometry.pushing()
    return torch.from_numpy(table).to(device, copy=True)


@lru_cache(maxsize=256)
def numbers_on(values: tuple[float | int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a few numbers in memory: handed over as they are, Triton would make them float32."""
    return torch.tensor(values, dtype=dtype, device=device)
