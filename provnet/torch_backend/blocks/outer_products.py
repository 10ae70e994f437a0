"""Folds over the outer product of weights and a share of each output: two passes over memory an edge.

    columns[b, l, i] = reduce over channels c of ( w[c, i] * share[b, l, c] )

Where an annotation function lets |p_jk| be taken apart into |a_j| * |w_jk|, the max over k of a product with a_j >=
0 is a_j times the max over k of the rest: rounding is monotone, so the two agree but for the order of three roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

import torch
from torch import Tensor

from provnet.rules.lrp.base import Rule
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.prepared import Prepared, Sources, Tile
from provnet.torch_backend.blocks.scatter import scatter_any, scatter_taps
from provnet.torch_backend.blocks.tiling import tiles

TILE = {"cpu": 1 << 20}
"""Products at a time, four megabytes: their memory is used again, so larger tiles cost no fresh pages."""


NORMAL = {torch.float32: 1e-30, torch.float64: 1e-290}
"""Numbers smaller than this come near the denormal ones, which are rounded coarsely: no bound in ulp holds of them."""


@dataclass(frozen=True, eq=False)
class OuterTile:
    """One tile: weights [1, positions or 1, channels, fan] and shares [batch, positions, channels], not yet
    multiplied."""

    tile: Tile
    batch: slice
    sources: Sources
    weights: Tensor
    share: Tensor
    room: Tensor
    """Memory for the products, used again by every tile: fresh pages cost more than the arithmetic."""

    def reduce(self, reduction: Callable[..., Tensor]) -> Tensor:
        """Return [batch, positions, fan], each the reduction over the channels."""
        shape = torch.broadcast_shapes(self.weights.shape, (*self.share.shape, 1))
        product = torch.mul(self.weights, self.share.unsqueeze(3), out=self.room[: prod(shape)].view(shape))
        folded = reduction(product, dim=2)
        return folded.expand(*folded.shape[:2], self.sources[0].shape[1])  # without weights all slots are alike


def single_product(prepared: Prepared) -> bool:
    """Whether every contribution is one product f(a) * g(w), divided as the base class does it, with shared weights.

    A weight that is none and weighs something is left to the definition: folds of outer products know no absent edge of
    a single channel.
    """
    rule = prepared.rule
    plain = len(rule.products) == 1 and type(rule).coefficients is Rule.coefficients and rule.branches[0].factor == 1
    shared = not (prepared.block.weight_by_example or prepared.block.bias_by_example)
    return plain and shared and not prepared.selects and prepared.weight_padding is None


def weights_of(prepared: Prepared, signed: bool = False) -> Tensor | None:
    """Return |g(w)| of a single product, flat, or g(w) if `signed`; None where the block has no weights."""
    w = prepared.rule.products[0].weights(prepared.w)
    return w if w is None or signed else w.abs()


def size(x: Tensor | None) -> float:
    """Return max |x|, 0 of nothing."""
    if x is None or not x.numel():
        return 0.0
    return max(-float(x.amin()), float(x.amax()))  # both take a third less time than `aminmax`


def bank(prepared: Prepared, w: Tensor | None, tile: Tile, batch: slice, sources: Sources) -> Tensor:
    """Return a tile's part of the weights w, [1, positions or 1, channels, fan]; a single one where there are none."""
    if w is None:
        return torch.ones((1, 1, 1, 1), dtype=prepared.a[0].dtype, device=prepared.device)
    return replace(prepared, w=w).tile_weights(tile, batch, sources[2])


def bias_column(prepared: Prepared) -> Tensor | None:
    """Return the bias's contributions to the channels that `by_bias` makes of outputs, [channels, 1]; None: no bias."""
    if prepared.b is None:
        return None
    b = prepared.rule.products[0].biases(prepared.b)
    wiring = prepared.block.wiring
    if wiring.channel_axis is not None:
        return b[:, None]
    return b[wiring.bias(torch.arange(wiring.outputs, device=prepared.device))][:, None]


def by_bias(prepared: Prepared, x: Tensor) -> Tensor:
    """Return x [batch, outputs] as a view [batch, channels, places], so that outputs share a bias without copies."""
    wiring = prepared.block.wiring
    channels = wiring.channels * wiring.groups
    if wiring.channel_axis == 0:
        return x.view(len(x), channels, -1)
    if wiring.channel_axis == -1:
        return x.view(len(x), -1, channels).transpose(1, 2)
    return x.unsqueeze(2)


def columns(
    prepared: Prepared, w: Tensor | None, share: Tensor, reached: Tensor, edges: int | None
) -> Iterator[OuterTile]:
    """Yield the tiles of a block. Outputs that are not `reached`, all over a tile, are left out."""
    room = torch.empty(0, dtype=share.dtype, device=share.device)
    edges = edges or TILE.get(share.device.type)
    for tile, batch, sources in tiles(replace(prepared, b=None), edges, reached):
        at = prepared.outputs(tile)
        some = share[batch][:, at.reshape(-1)].reshape(-1, *at.shape)
        weights = bank(prepared, w, tile, batch, sources)
        needed = some.numel() * weights.shape[3]
        if len(room) < needed:
            room = share.new_empty(needed)
        yield OuterTile(tile, batch, sources, weights, some, room)


def fold(
    semiring: Semiring,
    prepared: Prepared,
    into: Tensor,
    tiles: Iterator[OuterTile],
    column: Callable[[OuterTile], Tensor],
) -> None:
    """⊕ every tile's columns into the inputs [batch, inputs + 1], whose last entry takes what is absent.

    Tiles of the same positions and examples differ in their channels only: they are ⊕-ed before they are scattered.
    """
    for _, group in groupby(tiles, key=lambda part: (part.tile.positions.start, part.batch.start)):
        first, total = None, None
        for part in group:
            found = column(part)
            first, total = first or part, found if total is None else semiring.plus(total, found)
        assert first is not None and total is not None, "a group has at least one tile"
        index, present, _ = first.sources
        wiring = prepared.block.wiring
        if present is not None:
            index = torch.where(present, index, wiring.inputs)
        if wiring.taps is None:
            scatter_any(semiring, into[first.batch], index.reshape(-1), total.flatten(1, 2))
        else:
            scatter_taps(semiring, into[first.batch], index, total, wiring.taps)


def larger_of_bias(prepared: Prepared, found: Tensor) -> Tensor:
    """Return the larger of `found` and the bias's contribution by size, [batch, outputs]; `found` is overwritten."""
    b = bias_column(prepared)
    if b is not None:
        part = by_bias(prepared, found)
        torch.maximum(part, b.abs(), out=part)
    return found


def largest_contributions(prepared: Prepared) -> Tensor:
    """Return max |p| over each neuron's inputs, bias included, [batch, outputs]: exact. Made once and kept."""
    if prepared.extent.contributions is not None:
        return prepared.extent.contributions
    a, w = prepared.a[0].abs(), weights_of(prepared)
    found, room = torch.zeros_like(prepared.z[0]), a.new_empty(0)
    for tile, batch, sources in tiles(replace(prepared, b=None)):
        near = prepared.gather(a[batch], sources[0])
        if sources[1] is not None:
            near = torch.where(sources[1], near, torch.zeros((), dtype=a.dtype, device=a.device))
        at, weights = prepared.outputs(tile), bank(prepared, w, tile, batch, sources)
        shape = (len(near), *at.shape, near.shape[2])
        room = room if len(room) >= prod(shape) else a.new_empty(prod(shape))
        size = torch.mul(near[:, :, None], weights, out=room[: prod(shape)].view(shape))
        found[batch, at.reshape(-1)] = size.amax(dim=-1).flatten(1)
    prepared.extent.contributions = larger_of_bias(prepared, found)
    return prepared.extent.contributions
