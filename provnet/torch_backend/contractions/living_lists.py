"""Lists of living far ends, folded by compiled programs: what a convolution does, for any ⊕ and ⊗ of a body."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from numpy.typing import NDArray

from provnet.torch_backend.contractions import pack_source
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.contraction_memory import room
from provnet.torch_backend.contractions.list_source import PLACES, ListShape, of_sizes, program, vectors_at_most
from provnet.torch_backend.contractions.machine_code import Compiled, available, vector_bytes
from provnet.torch_backend.contractions.vector_lines import is_written

Array = NDArray[Any]
Types = tuple[tuple[str, torch.dtype], ...]

NARROWEST = 16
"""Fewer near channels do not fill vectors."""
FEWEST = 16
"""Fewer places of a row leave the weights' way into the cache unpaid."""

C_TYPES = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double, torch.int64: ctypes.c_int64}


class ListProgram:
    """What folds lists into panels of near channels, for one body and its types."""

    def __init__(self, body: Body, types: Types, near: int, far: int) -> None:
        known = dict(types)
        lanes = vector_bytes() // known["w"].itemsize
        vectors = -(-near // lanes)
        self.panels = -(-vectors // vectors_at_most(body, known, vector_bytes()))
        self.shape = ListShape(lanes, -(-vectors // self.panels), 2 if far < 1 << 15 else 4)
        self.fold = _fold(body, types, self.shape)
        self.pack = _pack(known["w"], self.shape, of_sizes(body) is not None)

    @staticmethod
    def of(body: Body, types: Types, near: int, far: int, places: int) -> ListProgram | None:
        """Return it, None where it does not serve."""
        if near < NARROWEST or places < FEWEST or body.scalars > 2:
            return None
        return ListProgram(body, types, near, far) if _serves(body, types) else None

    @property
    def width(self) -> int:
        """Channels of a panel."""
        return self.shape.width

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
