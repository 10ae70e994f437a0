"""The shape of a contraction: which blocks a compiled kernel knows, and where each tap of a position reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, singledispatch
from math import prod

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.transposed import TransposedConvolution
from provnet.circuit.windowed import Convolution
from provnet.circuit.wiring import Dense, Wiring


@dataclass(frozen=True)
class Geometry:
    """A dense layer or a convolution, seen as `taps` matrices between positions.

    Inputs lie as [rows, groups, near, places], outputs as [rows, groups, far, positions], weights as [groups, far,
    near, taps]; a dense layer has one place, one position and one tap, and its rows are counted with the examples.
    """

    per_example: int
    groups: int
    near: int
    far: int
    places: int
    positions: int
    taps: int
    convolution: Convolution | TransposedConvolution | None = None

    def pulling(self) -> NDArray[np.int32]:
        """Return the output position that each tap of an input place feeds, [taps, places]; -1: none."""
        return _table(self.convolution, pull=True)

    def pushing(self) -> NDArray[np.int32]:
        """Return the input place that each tap of an output position reads, [taps, positions]; -1: padding."""
        return _table(self.convolution, pull=False)

    def runs(self, pull: bool) -> NDArray[np.int64]:
        """Return the table in pieces that are side by side at both ends, [pieces, 4]: tap, first near place, first far
        position, how many. None, [0, 4], where pieces are short, as they are where a stride leaves places out."""
        if self.convolution is None:
            return np.zeros((0, 4), np.int64)
        return _runs(type(self.convolution), _sizes(self.convolution), pull)


@singledispatch
def geometry_of(wiring: Wiring) -> Geometry | None:
    """Return the geometry of a wiring that compiled kernels know, None of any other."""
    return None


@geometry_of.register
def _(wiring: Dense) -> Geometry:
    return Geometry(wiring.rows, 1, wiring.fan, wiring.channels, 1, 1, 1)


@geometry_of.register(Convolution)
@geometry_of.register(TransposedConvolution)
def _(wiring: Convolution | TransposedConvolution) -> Geometry:
    taps, places, positions = prod(wiring.kernel), prod(wiring.source_shape), prod(wiring.target_shape)
    return Geometry(1, wiring.groups, wiring.fan // taps, wiring.channels, places, positions, taps, wiring)


def _table(wiring: Convolution | TransposedConvolution | None, pull: bool) -> NDArray[np.int32]:
    if wiring is None:
        return np.zeros((1, 1), np.int32)
    return _tables(type(wiring), _sizes(wiring))[0 if pull else 1]


def _sizes(wiring: Convolution | TransposedConvolution) -> tuple[tuple[int, ...], ...]:
    return wiring.source_shape, wiring.target_shape, wiring.kernel, wiring.stride, wiring.padding, wiring.dilation


@lru_cache(maxsize=32)
def _tables(
    kind: type[Convolution] | type[TransposedConvolution], sizes: tuple[tuple[int, ...], ...]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (pulling, pushing). Layers of one geometry share them: 4 bytes a tap and place.

    sizes   of the source, the target and the kernel; stride, padding and dilation.
    """
    source, target, kernel, stride, padding, dilation = sizes
    taps, positions = prod(kernel), prod(target)
    wiring = kind(
        inputs=prod(source),
        outputs=positions,
        fan=taps,
        source_shape=source,
        target_shape=target,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    at = np.arange(positions, dtype=np.int64)
    pulling = np.full((taps, prod(source)), -1, np.int32)
    pushing = np.full((taps, positions), -1, np.int32)
    for tap in range(taps):
        place, present = wiring.place(at, tap)
        # One tap reaches distinct places from distinct positions (Wiring.taps), so nothing is overwritten.
        pulling[tap, place[present]] = at[present]
        pushing[tap, present] = place[present]
    return pulling, pushing


SHORT = 8
"""Pieces shorter than this on the average do not fill vectors."""


@lru_cache(maxsize=64)
def _runs(
    kind: type[Convolution] | type[TransposedConvolution], sizes: tuple[tuple[int, ...], ...], pull: bool
) -> NDArray[np.int64]:
    table = _tables(kind, sizes)[0 if pull else 1].astype(np.int64)
    found = []
    for tap, row in enumerate(table):
        places = (row >= 0).nonzero()[0]
        far = row[places]
        breaks = (np.diff(places) != 1) | (np.diff(far) != 1)
        first = np.concatenate([[0], breaks.nonzero()[0] + 1])[: len(places)]
        count = np.diff(np.append(first, len(places)))
        found.append(np.stack([np.full(len(first), tap), places[first], far[first], count], 1))
    runs = np.concatenate(found).astype(np.int64)
    long = len(runs) and runs[:, 3].mean() >= SHORT
    return np.ascontiguousarray(runs if long else runs[:0])
