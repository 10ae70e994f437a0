"""Torch modules in evaluation -> the oracle's lists of edges. Batch norms are fused with the linear map before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from tests.edge_lists import Array, Network


def numbers(tensor: Any) -> Array | None:
    """Return a tensor's numbers as numpy sees them; None stays None."""
    return None if tensor is None else tensor.detach().cpu().numpy()


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return an option that holds for both spatial axes as two numbers."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def normalisation(norm: nn.BatchNorm1d | nn.BatchNorm2d, dtype: Any) -> tuple[Array, Array]:
    """Return (factor, shift) of the affine map that a batch norm is in evaluation, for each channel."""
    mean, variance = numbers(norm.running_mean), numbers(norm.running_var)
    assert mean is not None and variance is not None
    gain = np.ones_like(mean) if norm.weight is None else numbers(norm.weight)
    offset = np.zeros_like(mean) if norm.bias is None else numbers(norm.bias)
    assert gain is not None and offset is not None
    factor = gain.astype(dtype) / np.sqrt(variance.astype(dtype) + dtype(norm.eps))
    return factor, offset.astype(dtype) - mean.astype(dtype) * factor


def linear(network: Network, module: nn.Linear | nn.Conv2d, x: int, norm: Any = None) -> int:
    """Add a dense layer or a convolution, with the batch norm that follows it fused into it."""
    weight, bias = numbers(module.weight), numbers(module.bias)
    assert weight is not None
    weight = weight.astype(network.dtype)
    bias = None if bias is None else bias.astype(network.dtype)
    if norm is not None:
        factor, shift = normalisation(norm, network.dtype)
        weight = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        bias = shift if bias is None else bias * factor + shift
    if isinstance(module, nn.Linear):
        return network.dense(x, weight, bias)
    assert module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return network.convolution(
        x, weight, bias, pair(module.stride), pair(module.padding), pair(module.dilation), module.groups
    )


def step(network: Network, module: nn.Module, x: int, norm: Any = None) -> int:
    """Add one module and return the number of its value."""
    match module:
        case nn.Linear() | nn.Conv2d():
            return linear(network, module, x, norm)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return network.scale(x, *normalisation(module, network.dtype))
        case nn.ReLU():
            return network.relu(x)
        case nn.Flatten():
            return network.flatten(x)
        case nn.Dropout() | nn.Identity():
            return network.reshape(x, network.shapes[x])
        case nn.MaxPool2d():
            kernel, stride = pair(module.kernel_size), pair(module.stride or module.kernel_size)
            return network.max_pool(
                x, kernel, stride, pair(module.padding), pair(module.dilation), bool(module.ceil_mode)
            )
        case nn.AvgPool2d():
            kernel, stride = pair(module.kernel_size), pair(module.stride or module.kernel_size)
            return network.average_pool(
                x, kernel, stride, pair(module.padding), bool(module.ceil_mode), bool(module.count_include_pad)
            )
        case nn.AdaptiveAvgPool2d() if module.output_size in (1, (1, 1)):
            return network.global_average(x)
    raise TypeError(f"the oracle knows no {type(module).__name__}")


@dataclass(frozen=True)
class Transcript:
    """A sequential model as a list of edges; module path -> number of its value, and path -> number of its layer.

    A linear map that is fused with the batch norm after it has a layer under its own path, and no value: the value is
    the batch norm's.
    """

    network: Network
    values: dict[str, int]
    layers: dict[str, int]


def transcribe(model: nn.Sequential, shape: Sequence[int], dtype: Any = np.float64, fuse: bool = True) -> Transcript:
    """Return a sequential model in evaluation as a list of edges. `shape` is one example's."""
    transcript, x = Transcript(Network(tuple(shape), dtype), {}, {}), 0
    children = list(model.named_children())
    following = [*children[1:], ("", None)]
    fused = False
    for (name, module), (_, after) in zip(children, following, strict=True):
        if not fused:
            norm = after if isinstance(after, nn.BatchNorm1d | nn.BatchNorm2d) else None
            fused = fuse and norm is not None and isinstance(module, nn.Linear | nn.Conv2d)
            x = step(transcript.network, module, x, norm if fused else None)
            transcript.layers[name] = x - 1
            if fused:
                continue
        fused, transcript.values[name] = False, x
    return transcript
