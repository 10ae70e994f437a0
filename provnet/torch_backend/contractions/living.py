"""Dense layers of many examples, folded over living neurons: outputs that relevance came to, inputs that are not 0.

One pass an example gives what the inputs get, what the bias takes, what is lost and the total, where contractions of
whole layers take a dozen. Arithmetic is the definition's, so that no guard looks at the layer before or after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite, nan
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.denormals import largest_bias, largest_input, largest_weight
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions import engine_for
from provnet.torch_backend.contractions.contraction_memory import room
from provnet.torch_backend.contractions.geometry import geometry_of
from provnet.torch_backend.contractions.least_passing import SAFE
from provnet.torch_backend.contractions.numba_source import living_kernels
from provnet.torch_backend.contractions.workers import run

Array = NDArray[Any]

LARGEST = 1 << 20
"""Edges of a row up to which its weights stay in a cache from one example to the next."""

FEW = 1 << 18
"""Edges of all rows below which threads cost more than they save."""

BLOCK = 32
"""As in `numba_living`, which is not imported where there is no numba."""

MARGIN = 4
"""Ulp: θ |z|, its bound and the quotient are rounded by half of one each."""


def foldable(prepared: Prepared) -> bool:
    """Return whether a block can be folded: a dense layer of single products whose weights fit a cache, by numba."""
    geometry = geometry_of(prepared.block.wiring)
    if geometry is None or geometry.convolution is not None or geometry.near * geometry.far > LARGEST:
        return False
    engine = engine_for(prepared)
    return engine is not None and engine.name == "numba"


@dataclass(frozen=True, eq=False)
class Folded:
    """What a fold gives: `inputs` [batch, inputs], and of each row of each example, [batch, rows], what the bias took,
    what was lost, and the total of the inputs: ⊕ in the semiring of the fold."""

    inputs: Tensor
    bias: Tensor
    lost: Tensor
    total: Tensor


class LivingLayer:
    """One foldable block as arrays, with relevance at its outputs."""

    def __init__(self, prepared: Prepared, relevance: Tensor) -> None:
        geometry = geometry_of(prepared.block.wiring)
        assert geometry is not None, "foldable"
        weights = outer.weights_of(prepared, signed=True)
        assert weights is not None, "foldable"
        self._prepared = prepared
        self.near, self.far, self.batch = geometry.near, geometry.far, prepared.batch
        self.rows = prepared.batch * geometry.per_example
        b = None if prepared.b is None else prepared.rule.products[0].biases(prepared.b)
        self.weights, self._bias = weights, b
        self.a, self.w, self.r = flat(prepared.a[0]), flat(weights), flat(relevance)
        self.b = self.w[:0] if b is None else flat(b)
        self.limits = torch.finfo(weights.dtype)

    @property
    def z(self) -> Array:
        """Denominators, [rows · far]."""
        return flat(self._prepared.z[0])

    @property
    def finite(self) -> bool:
        """Whether all inputs, weights and biases are finite numbers."""
        return all(isfinite(size) for size in (largest_input(self._prepared), *self._sizes))

    @property
    def floor(self) -> float:
        """The |z| from which on p / z is finite for every contribution p, NaN if there is none such."""
        weight, bias = self._sizes
        largest = max(largest_input(self._prepared) * weight, bias)
        return max(4 * largest / self.limits.max, self.limits.tiny) if isfinite(largest) else nan

    @property
    def _sizes(self) -> tuple[float, float]:
        return largest_weight(self._prepared), largest_bias(self._prepared)

    @property
    def width(self) -> int:
        """The inputs of a row, up to a whole block."""
        return -(-self.near // BLOCK) * BLOCK

    @property
    def alone(self) -> bool:
        """Whether one thread does it: others are not there, or cost more than they save."""
        return torch.get_num_threads() == 1 or self.rows * self.near * self.far <= FEW

    def fold(
        self,
        kernel: Callable[..., None],
        dtype: torch.dtype,
        given: tuple[Any, ...],
        rooms: Callable[[], Sequence[Array]],
    ) -> Folded:
        """Run a kernel over all rows, in this thread and others.

        given   what it reads behind a.   rooms   gives the scratch arrays of a task.
        """
        inputs, ends = self.results(dtype)
        out = [flat(x) for x in (inputs, *ends)]
        if dtype == torch.bool:
            out = [x.view(np.uint8) for x in out]

        def task(first: int, last: int) -> None:
            kernel(first, last, self.near, self.far, self.a, *given, *out, *rooms())

        self.run(task)
        return Folded(inputs, *ends)

    def results(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return room for what the inputs get, [batch, inputs], and for three numbers of each row, [3, batch, rows]."""
        each = self.rows // max(self.batch, 1)
        return torch.empty((self.batch, each * self.near), dtype=dtype), torch.empty((3, self.batch, each), dtype=dtype)

    def run(self, task: Callable[[int, int], None]) -> None:
        """Run a task of rows first:last over all rows, in this thread and others."""
        step = max(1, self.rows if self.alone else -(-self.rows // (4 * torch.get_num_threads())))
        spans = [(first, min(first + step, self.rows)) for first in range(0, self.rows, step)]
        run((lambda span=span: task(*span) for span in spans), self.alone)


def reached(layer: LivingLayer, theta: float, strict: bool, absolute: bool) -> Folded:
    """Return which inputs an output of truth values passes to by a coefficient of θ > 0 or more."""
    number = layer.a.dtype.type
    limits = map(number, (SAFE, layer.floor, MARGIN * layer.limits.eps, layer.limits.max))
    given = (layer.w, layer.b, layer.z, layer.r.view(np.uint8), number(theta), strict, absolute, *limits)
    scratch = (np.int64, layer.near + 1), (np.int64, layer.far + 1)
    return layer.fold(living_kernels().reach, torch.bool, given, lambda: _carved(scratch))


def counted(
    layer: LivingLayer, theta: float, strict: bool, absolute: bool, held: torch.dtype, found: torch.dtype
) -> Folded:
    """Return how many paths reach each input, where outputs hold counts. Sums are made in `held`, which must be
    exact."""
    number = layer.a.dtype
    sums, whole = (np.float32 if held == torch.float32 else np.float64), np.dtype(f"i{number.itemsize}")
    listed = 2 * layer.far + 8  # absolute thresholds list each output twice, and lists are padded
    scratch = (
        (sums, layer.width),
        *((kind, listed) for kind in (np.int64, np.int64, number, number, number, sums)),
        (number, 2 * layer.width),
    )

    def rooms() -> tuple[Array, ...]:
        v, index, sides, size, tried, least, worth, x = _carved(scratch)
        return v, index, sides, size, tried, tried.view(whole), least, worth, x

    limits = map(number.type, (SAFE, layer.floor, layer.limits.max))
    weights = _with_block("weights", layer.w)
    weights[: layer.w.size] = layer.w
    given = (weights, layer.b, layer.z, layer.r, number.type(theta), strict, absolute, *limits)
    return layer.fold(living_kernels().count, found, given, rooms)


def _carved(parts: Sequence[tuple[Any, int]]) -> list[Array]:
    """Return scratch arrays of some types and sizes, in one room: each begins on a cache line."""
    sizes = [-(-np.dtype(kind).itemsize * size // 64) * 64 for kind, size in parts]
    ends = list(accumulate(sizes))
    held = room("living", np.uint8, ends[-1])
    return [
        held[end - size : end].view(kind)[:wanted] for (kind, wanted), size, end in zip(parts, sizes, ends, strict=True)
    ]


def _with_block(name: str, weights: Array) -> Array:
    """Return room for weights, with a block behind them that holds 0."""
    found = room(f"living {name}", weights.dtype, weights.size + BLOCK)
    found[weights.size :] = 0
    return found


def flat(x: Tensor) -> Array:
    """Return the numbers of a tensor on a CPU, one after the other."""
    return x.detach().contiguous().reshape(-1).numpy()
