"""Who wins each window of a max pooling: the first maximum in row-major order, also in an all-zero window."""

from __future__ import annotations

from functools import singledispatch
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from provnet.circuit.deferred import Deferred
from provnet.circuit.windowed import Window
from provnet.circuit.wiring import Wiring
from provnet.torch_backend.blocks.prepared import Joined, Prepared, Ready
from provnet.torch_backend.blocks.tiling import TILE, tiles

_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class Winners(Deferred):
    """The winners of a pooling. `value`: the slot of each output's first maximum, [batch, outputs]; `places`: its place
    in the input channel, or None where only slots are known."""

    def __init__(self, plain: Ready) -> None:
        super().__init__()
        self.places = _places(plain) if isinstance(plain, Prepared) else None
        self._plain = plain if self.places is None else None  # tiles need the neurons, places only the geometry
        self._wiring = plain.block.wiring

    def make(self) -> Tensor:
        if self._plain is not None:
            return _by_tiles(self._plain)
        assert self.places is not None
        return _slots(self._wiring, self.places)


def _by_tiles(plain: Ready) -> Tensor:
    """The definition, for any wiring."""
    if not isinstance(plain, Prepared):
        return _among_operands(plain)
    found = torch.zeros((plain.batch, plain.block.wiring.outputs), dtype=torch.int64, device=plain.device)
    for tile, batch, sources in tiles(plain):
        (a,) = plain.numerators(tile, batch, sources, absent=-torch.inf)
        # `max` gives the first of equal values.
        found[batch, plain.outputs(tile).reshape(-1)] = a.max(dim=-1).indices.flatten(1)
    return found


def _among_operands(plain: Joined) -> Tensor:
    """Return which slot of all operands wins, the first of equal ones: [batch, outputs]."""
    wiring = plain.block.wiring
    outputs = torch.arange(wiring.outputs, device=plain.device)
    step = max(TILE["cpu"] // max(wiring.fan * plain.batch, 1), 1)
    parts = [plain.numerators(some, slice(0, plain.batch))[0].max(dim=-1).indices for some in outputs.split(step)]
    return torch.cat(parts, dim=1)


def _places(plain: Prepared) -> Tensor | None:
    """Return the winners' places as the model's own pooling found them, or the library's; None where it has no such
    pooling.

    Its loops take a later value only if it is greater, so they too give the first of equals (a test holds them to it).
    """
    return _found(plain.block.wiring, plain) if plain.block.wiring.selects and plain.whole else None


@singledispatch
def _found(wiring: Wiring, plain: Prepared) -> Tensor | None:
    return None


@_found.register
def _(wiring: Window, plain: Prepared) -> Tensor | None:
    if plain.block.places is not None:
        return plain.block.places.reshape(plain.batch, wiring.outputs)
    if any(pad > kernel // 2 for pad, kernel in zip(wiring.padding, wiring.kernel, strict=True)):
        return None
    a = plain.a[0].reshape(plain.batch, -1, *wiring.source_shape)
    options = (wiring.kernel, wiring.stride, wiring.padding, wiring.dilation)
    pool = _POOL[len(wiring.kernel)]
    _, place = pool(a, *options, ceil_mode=_rounds_up(wiring), return_indices=True)
    return place.reshape(plain.batch, wiring.outputs) if place.shape[2:] == wiring.target_shape else None


def _rounds_up(wiring: Window) -> bool:
    """Return whether some axis has more windows than fit into the padded input, as ceil_mode gives."""
    spans = (d * (k - 1) + 1 for d, k in zip(wiring.dilation, wiring.kernel, strict=True))
    padded = (n + 2 * p for n, p in zip(wiring.source_shape, wiring.padding, strict=True))
    whole = ((n - span) // s + 1 for n, span, s in zip(padded, spans, wiring.stride, strict=True))
    return any(made > fit for made, fit in zip(wiring.target_shape, whole, strict=True))


@singledispatch
def _slots(wiring: Wiring, place: Tensor) -> Tensor:
    """Return which slot of its window each winner is, from its place in the input channel."""
    raise TypeError(f"a {type(wiring).__name__} has no windows")


@_slots.register
def _(wiring: Window, place: Tensor) -> Tensor:
    output = torch.arange(wiring.outputs, device=place.device) % prod(wiring.target_shape)
    slot = torch.zeros_like(place)
    for d in range(len(wiring.kernel)):
        inner, behind = prod(wiring.source_shape[d + 1 :]), prod(wiring.target_shape[d + 1 :])
        at = place // inner % wiring.source_shape[d]
        first = output // behind % wiring.target_shape[d] * wiring.stride[d] - wiring.padding[d]
        slot = slot * wiring.kernel[d] + (at - first) // wiring.dilation[d]
    return slot
