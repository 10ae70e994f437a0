"""Lists of living far ends, folded by compiled programs: what a convolution does, for any ⊕ and ⊗ of a body."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provnet.torch_backend.contractions import pack_source
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.contraction_memory import room
from provnet.torch_backend.contractions.list_source import PLACES, ListShape, of_sizes, program, vectors_at_most
from provnet.torch_backend.contractions.machine_code import Compiled, available, vector_bytes
from provnet.torch_backend.contractions.vector_lines import is_written
from provnet.torch_backend.contractions.workers import Task

Array = NDArray[Any]
Types = tuple[tuple[str, torch.dtype], ...]

NARROWEST = 16
"""Fewer near channels do not fill vectors."""
FEWEST = 16
"""Fewer places of a row leave the weights' way into the cache unpaid."""

C_TYPES = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double, torch.int64: ctypes.c_int64}


class ListProgram:
    """What folds lists into panels of near channels, for one body and its types. `flat`: near ends lie as [places,
    channels], and places are rows."""

    def __init__(self, body: Body, types: Types, near: int, far: int, flat: bool = False) -> None:
        known = dict(types)
        lanes = vector_bytes() // known["w"].itemsize
        vectors = -(-near // lanes)
        self.panels = -(-vectors // vectors_at_most(body, known, vector_bytes()))
        self.shape = ListShape(lanes, -(-vectors // self.panels), 2 if far < 1 << 15 else 4, flat)
        self.fold = _fold(body, types, self.shape)
        self.sizes = of_sizes(body) is not None
        self.pack = _pack(known["w"], self.shape, self.sizes)

    @staticmethod
    def of(body: Body, types: Types, near: int, far: int, places: int, flat: bool = False) -> ListProgram | None:
        """Return it, None where it does not serve."""
        if near < NARROWEST or places < FEWEST or body.scalars > 2:
            return None
        return ListProgram(body, types, near, far, flat) if _serves(body, types) else None

    @property
    def width(self) -> int:
        """Channels of a panel."""
        return self.shape.width

    def laying(self, weights: Array, out: Array, near: int, pull: bool) -> Iterator[Task]:
        """Yield tasks that lay weights out: flat, [far, near, taps] if `pull`, else [near, far, taps]."""
        _, taps, far, _ = out.shape
        if taps == 1 and pull:
            yield lambda: self._copied(weights.reshape(far, near), out)
            return
        at, to = weights.ctypes.data, out.ctypes.data
        if taps == 1:  # far ends are side by side: as taps of a single one
            yield lambda: self.pack(0, 1, 1, near, far, 0, far, at, to)
            return
        steps = (near * taps, taps) if pull else (taps, far * taps)
        for first in range(0, far, 16):
            yield lambda first=first: self.pack(first, min(first + 16, far), far, near, taps, *steps, at, to)

    def _copied(self, weights: Array, out: Array) -> None:
        for panel in range(self.panels):
            part, into = weights[:, panel * self.width : (panel + 1) * self.width], out[panel, 0]
            into[:, part.shape[1] :] = 0
            into = into[:, : part.shape[1]]
            np.abs(part, out=into) if self.sizes else np.copyto(into, part)  # in this thread, as other tasks are

    def fold_flat(self, weights: Array, lists: tuple[Array, Array, Array], table: Array, near: int, out: Array) -> None:
        """Fold lists of rows, whose bodies have one scalar and no near number, from 0 on into out, [rows · near].

        weights, lists   as `laying` and `numba_template.compress` have them.   table   0, 1, ..., one for each row
        """
        starts, index, s0 = lists
        rows, far = s0.shape
        v = self.scratch(out.dtype, "v")  # held until the end: the program has its address
        read = (
            table.ctypes.data,
            starts.shape[1] - 1,
            far,
            starts.ctypes.data,
            index.ctypes.data,
            *[s0.ctypes.data] * 2,
        )
        tiles, at = self.tiles(rows), out.ctypes.data
        for panel in range(self.panels):
            first = panel * self.width
            ends = (weights[panel].ctypes.data, min(self.width, near - first), near, at, at + first * out.itemsize)
            self.fold(0, tiles, tiles, rows, rows, 1, *read, *ends, v.ctypes.data, v.ctypes.data, 0, 0, 0)

    def tiles(self, places: int) -> int:
        """Return how many tiles a row's places are cut into."""
        return -(-places // PLACES)

    def scratch(self, dtype: Any, name: str) -> Array:
        """Return room for a tile."""
        return room(name, dtype, PLACES * self.width)


@lru_cache(maxsize=256)
def _serves(body: Body, types: Types) -> bool:
    return available() and is_written(body, dict(types))


@lru_cache(maxsize=64)
def _fold(body: Body, types: Types, shape: ListShape) -> Callable[..., None]:
    """Return the fold of a program, compiled once a process."""
    known = dict(types)
    at, size, constant = ctypes.c_void_p, ctypes.c_int64, C_TYPES[known["w"]]
    kinds = (*[size] * 6, at, size, size, *[at] * 5, size, size, *[at] * 4, C_TYPES[known["v"]], constant, constant)
    return Compiled(program(body, known, shape, vector_bytes())).function("fold", *kinds)


@lru_cache(maxsize=32)
def _pack(dtype: torch.dtype, shape: ListShape, sizes: bool) -> Callable[..., None]:
    """Return what lays weights out, compiled once a process."""
    text = pack_source.program(dtype, shape.lanes, shape.width, sizes, vector_bytes())
    return Compiled(text).function("pack", *[ctypes.c_int64] * 7, ctypes.c_void_p, ctypes.c_void_p)
