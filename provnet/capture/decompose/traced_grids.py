"""Sampling at places that are computed, as a spatial transformer does: neighbours times their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

BILINEAR, NEAREST = 0, 1
ZEROS, BORDER = 0, 1
"""How torch numbers interpolations and paddings; 2 is bicubic, and reflection."""


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """The places [N, *space, axes] that matrices [N, axes, axes + 1] make of the places of an image and a one."""
    axes = len(size) - 2
    plain = torch.eye(axes, axes + 1, dtype=theta.dtype, device=theta.device).unsqueeze(0)
    base = aten.affine_grid_generator(plain, [1, *size[1:]], align_corners)
    ones = torch.cat([base.reshape(1, -1, axes), base.new_ones(1, prod(size[2:]), 1)], -1)
    return torch.bmm(ones.expand(len(theta), -1, -1), theta.mT).reshape(len(theta), *size[2:], axes)


def grid_sample(x: Tensor, grid: Tensor, interpolation: int, padding: int, align_corners: bool) -> Tensor:
    """z[n, c, p] = Σ over the neighbours q of the place grid[n, p] of x[n, c, q] · Π over the axes of 1 - |distance|.

    x [N, channels, *space], grid [N, *places, axes], the last axis of space first. Which neighbours there are is a
    choice, which has no derivative, as torch's own has none.
    """
    space, places = tuple(x.shape[2:]), tuple(grid.shape[1:-1])
    at = [
        _inside(_pixels(grid[..., axis].reshape(len(grid), -1), size, align_corners), size, padding, align_corners)
        for axis, size in enumerate(reversed(space))
    ][::-1]
    rows, steps = x.flatten(2), [prod(space[axis + 1 :]) for axis in range(len(space))]
    neighbours = [_neighbours(one, interpolation) for one in at]
    found = None
    for corner in product(*neighbours):
        inside = torch.ones_like(corner[0][0], dtype=torch.bool)
        index = torch.zeros_like(corner[0][0])
        for (place, _), size, step in zip(corner, space, steps, strict=True):
            inside &= (place >= 0) & (place < size)
            index += place.clamp(0, size - 1) * step
        part = rows.gather(2, index.unsqueeze(1).expand(-1, x.shape[1], -1))
        part = part.masked_fill(~inside.unsqueeze(1), 0)
        weights = [weight for _, weight in corner if weight is not None]
        if weights:  # one factor, so that no axis has more of the relevance than another
            part = part * reduce(torch.mul, weights).unsqueeze(1)
        found = part if found is None else found + part
    assert found is not None
    return found.reshape(*x.shape[:2], *places)


def _pixels(places: Tensor, size: int, align_corners: bool) -> Tensor:
    """Return places in [-1, 1] as places of pixels, from 0 on."""
    if align_corners:
        return (places + 1) * ((size - 1) / 2)
    return (places + 1) * (size / 2) - 0.5


def _inside(places: Tensor, size: int, padding: int, align_corners: bool) -> Tensor:
    """Return places that lie outside as those where the padding looks: at the border, or reflected at the edge."""
    if padding == ZEROS:
        return places
    if padding != BORDER:
        low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        sign, shift = _reflection(places, low, span)
        places = places * sign + shift
    return places.clamp(0, size - 1)


def _reflection(places: Tensor, low: float, span: float) -> tuple[Tensor, Tensor]:
    """Return the constant sign and shift by which places are reflected into [low, low + span]."""
    if span == 0:
        return torch.zeros_like(places), torch.zeros_like(places)
    turns = ((places - low) / span).to(torch.int64)
    turns = turns - ((places - low) < turns * span).to(torch.int64)  # round down
    even = (turns % 2 == 0).to(places.dtype)
    shift = even * (-turns * span) + (1 - even) * ((turns + 1) * span + 2 * low)
    return 2 * even - 1, shift


def _neighbours(places: Tensor, interpolation: int) -> list[tuple[Tensor, Tensor | None]]:
    """Return (place of a pixel, its weight) of the pixels next to places along one axis."""
    if interpolation == NEAREST:
        up = _whole(places + 0.5)
        tie = (places + 0.5 == up) & (up % 2 == 1)  # of two that are as near, the even one
        return [(up - tie.to(torch.int64), None)]
    below = _whole(places)
    before = below.to(places.dtype)
    return [(below, before + 1 - places), (below + 1, places - before)]


def _whole(places: Tensor) -> Tensor:
    """Return places rounded down, as whole numbers."""
    whole = places.to(torch.int64)
    return whole - (places < whole).to(torch.int64)


def applies(func: Any, args: tuple[Any, ...], is_active: Callable[[Tensor], bool]) -> bool:
    """Return whether an op is to be taken apart: sampling at a constant grid is a linear map that has a rule, and
    weights that are cubic in the place have none."""
    linear = func is aten.affine_grid_generator.default or args[2] in (BILINEAR, NEAREST)
    return linear and is_active(args[0 if func is aten.affine_grid_generator.default else 1])


TABLE: dict[Any, Callable[..., Any]] = {
    aten.affine_grid_generator.default: affine_grid,
    aten.grid_sampler_2d.default: grid_sample,
    aten.grid_sampler_3d.default: grid_sample,
}
