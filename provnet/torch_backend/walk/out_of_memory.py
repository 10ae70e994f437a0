"""Out of memory is no end: a block's tiles are halved and the block is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from provnet.circuit.blocks import Block
from provnet.errors import OutOfMemoryError
from provnet.torch_backend.blocks.tiling import TILE

FLOOR = 1 << 10
"""Edges of the smallest tile that is tried: what a smaller one would save is less than a page of memory."""

MESSAGES = ("DefaultCPUAllocator", "not enough memory", "out of memory", "ALLOC_FAILED")
"""What torch's allocators, cuBLAS and cuDNN write into a plain RuntimeError when there is no memory left."""

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be had: Python's, numpy's, or any of torch's allocators'."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(part in str(error) for part in MESSAGES)


def with_smaller_tiles(
    block: Block, tile: int | None, device: torch.device, pull: Callable[[int | None], T]
) -> tuple[T, str]:
    """Return pull(tile) and a remark for the plan: with the first tile that memory holds, halved each time.

    `tile` counts edges, None being each route's own choice. Results do not depend on it but for the order in which
    floats are summed. Raises: `OutOfMemoryError` if `FLOOR` edges are too many still; whatever else `pull` raises.
    """
    remark = ""
    while True:
        try:
            return pull(tile), remark
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            cause = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        # Out here the error is gone, and with it the frames that held what the attempt had made.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        held = TILE.get(device.type, TILE["cpu"]) if tile is None else tile
        if held <= FLOOR:
            raise OutOfMemoryError(
                f"memory ran out at the block {block.path!r} ({block.op}) even with tiles of {held:,} edges ({cause}). "
                "What the whole block needs (its inputs, its output, denominators) must fit: trace fewer examples at a "
                "time, trace with lean=True, ask for fewer semirings and targets in one call, or free memory."
            )
        tile = max(held // 2, FLOOR)
        remark = f" (out of memory: again with tiles of {tile:,} edges)"
