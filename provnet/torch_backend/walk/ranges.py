"""The coefficients of a block without listing them: their range, and those of its present edges tile by tile."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from provnet.rules.lrp.base import Rule
from provnet.rules.lrp.factors import RuleEdges
from provnet.torch_backend.blocks.prepared import Prepared, Ready
from provnet.torch_backend.blocks.tiling import TILE, tiles
from provnet.torch_backend.walk.workspace import Workspace


def coefficients(workspace: Workspace, index: int, rule: Rule) -> Iterator[Tensor]:
    """Yield the coefficients d of a block's present and defined edges, flat, a tile at a time; biases are left out."""
    block = workspace.circuit.blocks[index]
    if not block.has_coefficients:
        return
    for edges in _edges(workspace.prepared(index, rule)):
        d, mask = edges.d, torch.ones((), dtype=torch.bool, device=edges.d.device)
        for part in (edges.present, edges.defined):
            if part is not None:
                mask = mask & part
        fan = block.wiring.fan
        yield d[..., :fan][mask.expand(d.shape)[..., :fan]]


def _edges(ready: Ready) -> Iterator[RuleEdges]:
    if isinstance(ready, Prepared):
        for tile, batch, sources in tiles(ready):
            yield ready.tile(tile, batch, sources)
        return
    outputs = torch.arange(ready.block.wiring.outputs, device=ready.device)
    step = max(TILE["cpu"] // (ready.slots * ready.batch), 1)
    for some in outputs.split(step):
        yield ready.at(some, slice(0, ready.batch))


def coefficient_range(workspace: Workspace, index: int, rule: Rule) -> tuple[float, float] | None:
    """Return the least and the greatest coefficient of a block, None if no edge has one."""
    ends = [part.aminmax() for part in coefficients(workspace, index, rule) if part.numel()]
    if not ends:
        return None
    return min(float(low) for low, _ in ends), max(float(high) for _, high in ends)
