"""All edges of chosen inputs, from their outputs: the definition for the few that a shortcut leaves undecided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.geometry import Geometry, geometry_of

AT_ONCE = 1 << 20
"""Edges that are listed at a time."""


@dataclass(frozen=True, eq=False)
class Column:
    """Some chosen inputs [columns] and their examples [columns, 1]; of their edges p = fl(a w), the outputs, and which
    there are, [columns, edges] each."""

    inputs: Tensor
    p: Tensor
    batch: Tensor
    outputs: Tensor
    present: Tensor

    def of(self, x: Tensor) -> Tensor:
        """Return x [batch, outputs] at the edges' outputs."""
        return x[self.batch, self.outputs]


def columns_of(prepared: Prepared, batch: Tensor, inputs: Tensor) -> Iterator[Column]:
    """Yield the edges of the chosen (batch, inputs), [columns] each, in pieces; the bias is none of them.

    For blocks with a single product that are a dense layer or a convolution.
    """
    if not len(inputs):
        return
    geometry = geometry_of(prepared.block.wiring)
    w = outer.weights_of(prepared, signed=True)
    assert geometry is not None and w is not None, "such blocks have both"
    table = torch.from_numpy(geometry.pulling()).to(prepared.device, torch.int64)
    step = max(1, AT_ONCE // (geometry.taps * geometry.far))
    for first in range(0, len(inputs), step):
        which = slice(first, first + step)
        outputs, weight, present = _edges(geometry, table, inputs[which])
        p = prepared.a[0][batch[which], inputs[which]][:, None] * w[weight]
        yield Column(inputs[which], p, batch[which, None], outputs, present)


def _edges(geometry: Geometry, table: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, weights' indices and which edges there are, [columns, taps * far] each."""
    g = geometry
    place, channel = inputs % g.places, inputs // g.places
    near, group = channel % g.near, channel // g.near  # the group counts the rows of a dense layer too
    tap = torch.arange(g.taps, device=inputs.device)[:, None]
    far = torch.arange(g.far, device=inputs.device)[None, :]
    position = table[:, place].T[:, :, None]  # [columns, taps, 1]
    present = (position >= 0).expand(-1, -1, g.far)
    output = ((group[:, None, None] * g.far + far) * g.positions) + position.clamp(min=0)
    weight = ((group % g.groups)[:, None, None] * g.far + far) * g.near + near[:, None, None]
    return output.flatten(1), (weight * g.taps + tap).flatten(1), present.flatten(1)


def listable(prepared: Prepared) -> bool:
    """Return whether `columns_of` can list a block: a dense layer or a convolution without written padding."""
    return geometry_of(prepared.block.wiring) is not None and prepared.w is not None and prepared.whole


def reachable(prepared: Prepared, reached: Tensor) -> Tensor:
    """Return which inputs have an edge to an output that is reached [batch, outputs], in some channel of their group:
    [batch, inputs]."""
    g = geometry_of(prepared.block.wiring)
    assert g is not None, "listable"
    places = reached.view(len(reached), -1, g.far, g.positions).any(2)  # [batch, groups or rows, positions]
    none = torch.zeros_like(places[..., :1])
    table = torch.from_numpy(g.pulling()).to(reached.device, torch.int64)
    table = torch.where(table < 0, g.positions, table)
    found = torch.cat([places, none], 2)[:, :, table].any(2)  # [batch, groups or rows, places]
    return found[:, :, None].expand(-1, -1, g.near, -1).reshape(len(reached), -1)


def lightest(prepared: Prepared) -> float:
    """Return the least |g(w)| that is not 0, 1 of a block without weights, inf where all are 0. One pass over the
    weights, made once and kept."""
    if prepared.extent.lightest is None:
        w = outer.weights_of(prepared)
        prepared.extent.lightest = 1.0 if w is None else float(torch.where(w == 0, torch.inf, w).amin())
    return prepared.extent.lightest


def heaviest(prepared: Prepared) -> Tensor:
    """Return the largest |g(w)| of each input's edges, [inputs]. One pass over the weights, made once and kept."""
    g, w = geometry_of(prepared.block.wiring), outer.weights_of(prepared, signed=True)
    assert g is not None and w is not None, "listable"
    found = prepared.extent.heaviest
    if found is None:
        parts = w.view(g.groups, g.far, g.near, g.taps)
        found = prepared.extent.heaviest = torch.maximum(parts.amax((1, 3)), -parts.amin((1, 3)))
    rows = prepared.block.wiring.inputs // (g.groups * g.near * g.places)
    spread = found.expand(rows, g.groups, g.near)
    return spread[..., None].expand(-1, -1, -1, g.places).reshape(-1)
