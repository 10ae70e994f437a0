"""A network listed edge by edge, for the oracles: plain numpy, nothing of provnet, nothing of its wirings.

`source[k, s]` is the neuron that feeds output k through slot s, or -1. Neurons are counted row-major over one example;
the batch is one example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """One layer. It reads the concatenation of some earlier values; value 0 is the input, value i + 1 layer i's output.

    kind    "linear", "average", "sum", "scale": z_k = sum_s w_ks a_s + b_k. "max": the largest. "pass": unit edges.
    window  the number of places in a pooling's window, padding included.
    """

    kind: str
    inputs: tuple[int, ...]
    source: NDArray[np.int64]
    weight: Array | None = None
    bias: Array | None = None
    function: Callable[[Array], Array] | None = None
    window: int = 0


@dataclass
class Network:
    """A list of layers, the shape of every value, and methods that add layers. Each returns the number of its value."""

    shape: tuple[int, ...]
    dtype: Any = np.float64
    layers: list[Layer] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shapes.append(tuple(self.shape))

    def size(self, value: int) -> int:
        return int(np.prod(self.shapes[value], dtype=int))

    def append(self, layer: Layer, shape: Sequence[int]) -> int:
        self.layers.append(layer)
        self.shapes.append(tuple(int(n) for n in shape))
        return len(self.layers)

    def dense(self, x: int, weight: Array, bias: Array | None = None) -> int:
        """A linear layer on the last axis: weight [out, in]."""
        weight = np.asarray(weight, self.dtype)
        outputs, inputs = weight.shape
        rows = self.size(x) // inputs
        source = np.concatenate([np.tile(np.arange(inputs) + r * inputs, (outputs, 1)) for r in range(rows)])
        tiled = None if bias is None else np.tile(np.asarray(bias, self.dtype), rows)
        return self.append(
            Layer("linear", (x,), source, np.tile(weight, (rows, 1)), tiled), (*self.shapes[x][:-1], outputs)
        )

    def convolution(
        self,
        x: int,
        weight: Array,
        bias: Array | None = None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
    ) -> int:
        """A two-dimensional convolution: weight [out, in / groups, height, width]."""
        weight = np.asarray(weight, self.dtype)
        outputs, per_group, *kernel = weight.shape
        where = windows(self.shapes[x], kernel, stride, padding, dilation)  # [channels, y, x, places]
        _, height, width, places = where.shape
        where = where.reshape(groups, per_group, height * width, places)
        source, weights = [], []
        for k in range(outputs):
            group = where[k // (outputs // groups)]  # [channels of the group, positions, places]
            source.append(group.transpose(1, 0, 2).reshape(height * width, per_group * places))
            weights.append(np.tile(weight[k].reshape(1, -1), (height * width, 1)))
        biases = None if bias is None else np.repeat(np.asarray(bias, self.dtype), height * width)
        layer = Layer("linear", (x,), np.concatenate(source), np.concatenate(weights), biases)
        return self.append(layer, (outputs, height, width))

    def scale(self, x: int, factor: Array, shift: Array) -> int:
        """A batch norm that stands by itself: z = factor[c] * a + shift[c] for channel c, the first axis."""
        inner = self.size(x) // self.shapes[x][0]
        source = np.arange(self.size(x))[:, None]
        weight = np.repeat(np.asarray(factor, self.dtype), inner)[:, None]
        return self.append(
            Layer("scale", (x,), source, weight, np.repeat(np.asarray(shift, self.dtype), inner)), self.shapes[x]
        )

    def relu(self, x: int) -> int:
        return self.unit((x,), np.arange(self.size(x)), self.shapes[x], lambda a: np.maximum(a, 0))

    def unit(
        self,
        inputs: tuple[int, ...],
        index: Array,
        shape: Sequence[int],
        function: Callable[[Array], Array] | None = None,
    ) -> int:
        """Output k is function(input index[k])."""
        return self.append(Layer("pass", inputs, np.asarray(index).reshape(-1, 1), function=function), shape)

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        return self.unit((x,), np.arange(self.size(x)), shape)

    def flatten(self, x: int) -> int:
        return self.reshape(x, (self.size(x),))

    def concatenate(self, *parts: int) -> int:
        """Concatenate along the first axis of an example (the channels)."""
        total = sum(self.size(x) for x in parts)
        first = sum(self.shapes[x][0] for x in parts)
        return self.unit(parts, np.arange(total), (first, *self.shapes[parts[0]][1:]))

    def sum(self, x: int, y: int) -> int:
        """A residual: z = x + y, two edges an entry."""
        index = np.arange(self.size(x))
        source = np.stack([index, index + self.size(x)], 1)
        return self.append(Layer("sum", (x, y), source, np.ones(source.shape, self.dtype)), self.shapes[x])

    def max_pool(
        self,
        x: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        ceil_mode: bool = False,
    ) -> int:
        where = windows(self.shapes[x], kernel, stride, padding, dilation, ceil_mode)
        source = np.maximum(where, -1).reshape(-1, where.shape[-1])
        return self.append(Layer("max", (x,), source, window=where.shape[-1]), where.shape[:-1])

    def average_pool(
        self,
        x: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int] = (0, 0),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> int:
        """Fixed equal weights. Padding counts in the divisor if asked; places past the padded edge never do."""
        where = windows(self.shapes[x], kernel, stride, padding, (1, 1), ceil_mode)
        counted = where >= (-1 if count_include_pad else 0)
        weight = np.broadcast_to(1 / counted.sum(-1, keepdims=True), where.shape).astype(self.dtype)
        flat = (-1, where.shape[-1])
        layer = Layer(
            "average", (x,), np.maximum(where, -1).reshape(flat), weight.reshape(flat), window=where.shape[-1]
        )
        return self.append(layer, where.shape[:-1])

    def global_average(self, x: int) -> int:
        """Adaptive average pooling to one place."""
        return self.average_pool(x, self.shapes[x][1:], (1, 1))

    def forward(self, x: Array) -> list[Array]:
        """Return every value, flat, in the network's dtype."""
        values = [np.asarray(x, self.dtype).reshape(-1)]
        for layer in self.layers:
            values.append(_forward(layer, np.concatenate([values[i] for i in layer.inputs])))
        return values


def windows(
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool = False,
) -> NDArray[np.int64]:
    """Return the neurons under a sliding window: [channels, y, x, places], -1 in the padding and -2 past it."""
    channels, *spatial = shape
    padded = [n + 2 * p for n, p in zip(spatial, padding, strict=True)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    steps = []
    for n, m, p, k, s in zip(spatial, padded, padding, reach, stride, strict=True):
        count = (m - k) // s + 1
        # One more window with ceil_mode, unless it would start in the right padding.
        if ceil_mode and (m - k) % s and count * s < n + p:
            count += 1
        steps.append(count)
    grid = np.full((channels, *(m + k + s for m, k, s in zip(padded, reach, stride, strict=True))), -2, np.int64)
    grid[:, : padded[0], : padded[1]] = -1
    inside = tuple(slice(p, p + n) for p, n in zip(padding, spatial, strict=True))
    grid[(slice(None), *inside)] = np.arange(np.prod(shape, dtype=int)).reshape(channels, *spatial)
    places = []
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            rows = y * dilation[0] + stride[0] * np.arange(steps[0])
            columns = x * dilation[1] + stride[1] * np.arange(steps[1])
            places.append(grid[:, rows[:, None], columns[None, :]])
    return np.stack(places, -1)


def gather(layer: Layer, a: Array) -> tuple[Array, Array]:
    """Return what stands at every slot, 0 where nothing does, and where something does: [outputs, slots] both."""
    present = layer.source >= 0
    return np.where(present, a[layer.source], a.dtype.type(0)), present


def _forward(layer: Layer, a: Array) -> Array:
    values, present = gather(layer, a)
    if layer.kind == "pass":
        return values[:, 0] if layer.function is None else layer.function(values[:, 0])
    if layer.kind == "max":
        return np.where(present, values, -np.inf).max(1).astype(a.dtype)
    assert layer.weight is not None
    z = (values * layer.weight).sum(1)
    return z if layer.bias is None else z + layer.bias
