"""Cut a block into tiles whose edges fit a budget. No route lists a block's edges at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from provnet.torch_backend.blocks.prepared import Prepared, Sources, Tile

TILE = {"cpu": 1 << 19, "cuda": 1 << 24}
"""Edges in a tile. On two cores 2^19 and 2^20 are about twice as fast as 2^17; larger ones gain nothing."""


def _steps(first: int, last: int, step: int) -> Iterator[slice]:
    return (slice(at, min(at + step, last)) for at in range(first, last, step))


def tiles(
    plain: Prepared, edges: int | None = None, reached: Tensor | None = None
) -> Iterator[tuple[Tile, slice, Sources]]:
    """Yield (tile, examples, sources) in a fixed order, each with at most `edges` edges (or one neuron's, if more).

    `reached` [batch, outputs] says which outputs matter: channels that are not, all over a tile, are left out of it.
    Memory: a route needs a small multiple of `edges` elements. Sources are shared by the tiles that follow each other.
    """
    wiring = plain.block.wiring
    budget = max(1, (edges or TILE.get(plain.device.type, TILE["cpu"])) // max(plain.slots, 1))
    step = min(wiring.channels, budget)
    positions = max(1, budget // step)
    batch = max(1, budget // (step * min(positions, max(wiring.positions, 1))))
    groups = wiring.groups if wiring.channels > 1 else 1  # a tile of several channels has one bank of weights
    per_group = wiring.positions // groups
    channels = torch.arange(wiring.channels, device=plain.device)
    for group in range(groups):
        for span in _steps(group * per_group, (group + 1) * per_group, positions):
            sources = None
            for examples in _steps(0, plain.batch, batch):
                left = (
                    channels if reached is None else _reached_channels(plain, Tile(span, channels), reached[examples])
                )
                for part in left.split(step):
                    if len(part):
                        sources = sources or plain.sources(span)
                        yield Tile(span, part), examples, sources


def _reached_channels(plain: Prepared, tile: Tile, reached: Tensor) -> Tensor:
    """Return the tile's channels in which some output matters."""
    found = reached[:, plain.outputs(tile).reshape(-1)].reshape(-1, len(tile.channels)).any(0)
    return tile.channels[found]
