"""Semiring LRP as research code has it: a Python loop over neurons. A slice is measured, the whole is extrapolated.

The authors' notebooks step through every input neuron of a layer in Python and fold the messages of all its outputs
(channels × taps of the kernel) by one numpy expression. These loops have that shape and are written from [GSM25] eq. 6
and 7: R_j = ⊕ over k of Θ(a_j w_jk / z_k) ⊗ R_k. They are kinder than the original: a dense layer is no padded
convolution, poolings cost nothing, and z and the largest contributions are there already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float32]
THETA = 1e-9


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution of stride 1 or a dense layer: a [in, H, W], w [out, in, h, w], the others [out, H', W'] with a rim
    as wide as a kernel reaches: there R is zero, and z and m are one."""

    a: Array
    w: Array
    z: Array
    m: Array
    r: Array

    @property
    def inputs(self) -> int:
        return self.a.size


def layers_of(model: nn.Module, x: Tensor) -> list[Layer]:
    """Return the linear maps of a model that was run on one example; every neuron is relevant, with R in [0.5, 1]."""
    found: list[Layer] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(_layer(module, args[0], output))

    handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _layer(module: Any, a: Tensor, z: Tensor) -> Layer:
    w = module.weight.detach()
    if isinstance(module, nn.Linear):
        a, z, w = a[:, :, None, None], z[:, :, None, None], w[:, :, None, None]
        rim = 0
        largest = (a[0, None] * w).abs().amax(dim=(1, 2, 3))[None, :, None, None]
    else:
        rim = module.kernel_size[0] - 1 - module.padding[0]
        # |a| times the layer's largest weight: the loop's cost does not hang on the numbers.
        largest = torch.full_like(z, float(a.abs().max() * w.abs().max()))
    relevance = torch.rand(z.shape, generator=torch.Generator().manual_seed(0)) / 2 + 0.5

    def rimmed(x: Tensor, value: float) -> Array:
        return nn.functional.pad(x[0], (rim,) * 4, value=value).numpy()

    return Layer(a[0].numpy(), w.numpy(), rimmed(z, 1.0), rimmed(largest, 1.0), rimmed(relevance, 0.0))


def boolean(a: float, w: Array, z: Array, m: Array, r: Array) -> bool:
    return bool(((a * w / z >= THETA) & (r > 0)).any())


def viterbi(a: float, w: Array, z: Array, m: Array, r: Array) -> float:
    return float((np.abs(a * w) / m * r).max())


def counting(a: float, w: Array, z: Array, m: Array, r: Array) -> float:
    return float(np.where(a * w / z >= THETA, r, 0).sum())


_ELEMENT = np.vectorize(lambda d: 1 if d >= THETA else 0)


def counting_by_element(a: float, w: Array, z: Array, m: Array, r: Array) -> float:
    """The same with Θ called once an edge, through numpy.vectorize: the authors' way to annotate."""
    return float((_ELEMENT(a * w / z) * r).sum())


FOLDS: dict[str, Callable[..., Any]] = {
    "Boolean": boolean,
    "Viterbi": viterbi,
    "counting": counting,
    "counting, Θ by element": counting_by_element,
}


def loop(layer: Layer, fold: Callable[..., Any], neurons: NDArray[np.int64]) -> list[Any]:
    """Return R of the given input neurons (flat indices) by the Python loop."""
    height, width = layer.w.shape[2:]
    rows, columns = layer.a.shape[1:]
    found = []
    for neuron in neurons.tolist():
        channel, i, j = neuron // (rows * columns), neuron // columns % rows, neuron % columns
        kernel = layer.w[:, channel, ::-1, ::-1]
        zone = (slice(None), slice(i, i + height), slice(j, j + width))
        found.append(fold(layer.a[channel, i, j], kernel, layer.z[zone], layer.m[zone], layer.r[zone]))
    return found


def extrapolated(layers: list[Layer], fold: Callable[..., Any], slice_of: int = 64) -> float:
    """Return the seconds that the loop would take over all neurons: those of a random slice of each layer, times
    inputs / slice. A layer's neurons have the same number of edges each, so that is also by edges."""
    total = 0.0
    for number, layer in enumerate(layers):
        chosen = np.random.default_rng(number).integers(0, layer.inputs, min(slice_of, layer.inputs))
        loop(layer, fold, chosen[:2])
        start = time.perf_counter()
        loop(layer, fold, chosen)
        total += (time.perf_counter() - start) * layer.inputs / len(chosen)
    return total
