"""The coefficients of a block without listing them: their range, and those of its present edges tile by tile."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from provnet.rules.lrp.base import Rule
from provnet.torch_backend.tiling import tiles
from provnet.torch_backend.workspace import Policy, Workspace


def coefficients(workspace: Workspace, index: int, rule: Rule, policy: Policy) -> Iterator[Tensor]:
    """Yield the coefficients d of a block's present and defined edges, flat, a tile at a time; biases are left out."""
    block = workspace.circuit.blocks[index]
    if not block.has_coefficients:
        return
    prepared = workspace.prepared(index, rule, policy)
    for tile, batch, sources in tiles(prepared):
        edges = prepared.tile(tile, batch, sources)
        d, mask = edges.d, torch.ones((), dtype=torch.bool, device=edges.d.device)
        for part in (edges.present, edges.defined):
            if part is not None:
                mask = mask & part
        fan = block.wiring.fan
        yield d[..., :fan][mask.expand(d.shape)[..., :fan]]


def coefficient_range(workspace: Workspace, index: int, rule: Rule, policy: Policy) -> tuple[float, float] | None:
    """Return the least and the greatest coefficient of a block, None if no edge has one."""
    ends = [part.aminmax() for part in coefficients(workspace, index, rule, policy) if part.numel()]
    if not ends:
        return None
    return min(float(low) for low, _ in ends), max(float(high) for _, high in ends)
