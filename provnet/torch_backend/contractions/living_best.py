"""Best products of a dense layer over its living neurons: lists are folded in registers, a chunk of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.contractions.body import MAX_TIMES_ABS
from provnet.torch_backend.contractions.contraction_memory import room
from provnet.torch_backend.contractions.living import Array, Folded, LivingLayer, flat
from provnet.torch_backend.contractions.living_lists import ListProgram
from provnet.torch_backend.contractions.numba_source import living_kernels

CHUNK = 256
"""Rows whose lists are made at a time: they stay in a second-level cache."""

BLOCK = 64
"""Ends of a block of a list, as in `numba_engine`."""


def best(layer: LivingLayer, known: Tensor | None, highest: float) -> tuple[Folded, Tensor] | None:
    """Return the best product of shares of each output's largest contribution, and those, [batch, outputs].

    known   the largest contributions, if somebody has found them
    None: a number on the way is not finite. Memory: two copies of the weights.
    """
    largest = torch.empty((layer.batch, layer.rows * layer.far // max(layer.batch, 1)), dtype=layer.weights.dtype)
    if known is not None:
        largest.copy_(known)
    inputs, ends = layer.results(layer.weights.dtype)
    made = _Best(layer, largest, known is not None, highest, inputs, ends)
    layer.run(made.rows)
    return None if made.bad[0] else (Folded(inputs, *ends), largest)


@dataclass(eq=False)
class _Best:
    """The fold under way. `inputs` holds max over k of |w_jk| R_k / m_k on the way."""

    layer: LivingLayer
    largest: Tensor
    known: bool
    highest: float
    inputs: Tensor
    ends: Tensor

    def __post_init__(self) -> None:
        layer = self.layer
        self.kernels, self.bad = living_kernels(), np.zeros(1, np.uint8)
        self.number = layer.a.dtype
        self.whole = np.dtype(f"i{self.number.itemsize}")
        limits = layer.limits
        most = self.highest if self.highest <= limits.max else inf
        self.small, self.slack, self.most, self.ceiling = map(
            self.number.type, (outer.NORMAL[layer.weights.dtype], 1 + 16 * limits.eps, limits.max, most)
        )
        self.into, self.bias, self.lost, self.total = (flat(x) for x in (self.inputs, *self.ends))
        self.m, self.least = flat(self.largest), np.empty(layer.rows, self.number)
        self.pull = _Side(layer, layer.near, layer.far, True)
        self.push = None if self.known else _Side(layer, layer.far, layer.near, False)

    def rows(self, first: int, last: int) -> None:
        """Fold the rows first:last."""
        for begin in range(first, last, CHUNK):
            self._chunk(begin, min(begin + CHUNK, last))

    def _chunk(self, first: int, last: int) -> None:
        layer, span = self.layer, (first, last)
        near, far = layer.near, layer.far
        if self.push is not None:
            lists = self.push.lists(last - first)
            self.kernels.best_inputs(*span, near, layer.a, *lists)
            self.push.fold(lists, self.m[first * far : last * far])
        lists, scratch = self.pull.lists(last - first), room("living outputs", self.number, 2, far)
        limits, ends = (self.small, self.slack, self.most), (self.bias, self.lost, self.bad)
        given = (layer.b, layer.r, not self.known, self.m)
        self.kernels.best_outputs(*span, far, *given, *limits, *ends, *lists, self.least, *scratch)
        if self.bad[0]:
            return  # lists end where that was seen
        self.pull.fold(lists, self.into[first * near : last * near])
        given = (near, far, layer.a, layer.w, layer.r, self.m, self.least, self.small, self.most, self.ceiling)
        bits = self.total.view(self.whole), self.into.view(self.whole)
        self.kernels.best(*span, *given, self.into, self.bias, self.total, self.bad, *bits)


class _Side:
    """One of the two folds: into the inputs (`pull`) or into the outputs."""

    def __init__(self, layer: LivingLayer, near: int, far: int, pull: bool) -> None:
        names = ("v", "a", "w", "s0", "s1", "c0", "c1")
        types = tuple(dict.fromkeys(names, layer.weights.dtype).items())
        self.program = ListProgram(MAX_TIMES_ABS, types, near, far, flat=True)
        self.near, self.far, self.number = near, far, layer.a.dtype
        shape = (self.program.panels, 1, far, self.program.width)
        self.weights = room(f"living {'sizes' if pull else 'across'}", self.number, *shape)
        for task in self.program.laying(layer.w, self.weights, near, pull):
            task()
        self.table = np.arange(CHUNK, dtype=np.int32)

    def lists(self, rows: int) -> tuple[Array, Array, Array]:
        """Return room for the lists of some rows: where blocks begin, indices of far ends, their numbers."""
        blocks, whole = -(-self.far // BLOCK), np.dtype(f"i{self.program.shape.index}")
        kinds: tuple[tuple[Any, int], ...] = ((np.int32, blocks + 1), (whole, self.far), (self.number, self.far))
        names = ("starts", "index", "share")
        starts, index, share = (room(f"living {n}", kind, rows, w) for n, (kind, w) in zip(names, kinds, strict=True))
        return starts, index, share

    def fold(self, lists: tuple[Array, Array, Array], out: Array) -> None:
        """Fold listed far ends into out, [rows · near]."""
        self.program.fold_flat(self.weights, lists, self.table, self.near, out)
