"""Scratch memory that outlives a contraction, as long as an evaluation runs: fresh pages cost more than the work.

Small rooms stay for the next evaluation in the same thread: a dozen names, KEPT bytes each.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_HELD = threading.local()
KEPT = 4 << 20


@contextmanager
def rooms_kept() -> Iterator[None]:
    """Keep rooms for the contractions of this thread until the outermost such block is left."""
    if getattr(_HELD, "rooms", None) is not None:
        yield
        return
    _HELD.rooms = getattr(_HELD, "small", {})
    try:
        yield
    finally:
        _HELD.small = {name: held for name, held in _HELD.rooms.items() if held.numel() <= KEPT}
        _HELD.rooms = None


def room(name: str, dtype: Any, *shape: int) -> NDArray[Any]:
    """Return an uninitialised array that begins on a cache line: vectors that straddle two take twice as long.

    Within `rooms_kept` the array that the same name had before is overwritten.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    rooms: dict[str, Tensor] | None = getattr(_HELD, "rooms", None)
    held = None if rooms is None else rooms.get(name)
    if held is None or held.numel() < size:
        held = None
        if rooms is not None:
            rooms.pop(name, None)  # before the larger one is asked for
        held = torch.empty(size, dtype=torch.uint8)
        if rooms is not None:
            rooms[name] = held
    return held[:size].numpy().view(dtype).reshape(shape)
