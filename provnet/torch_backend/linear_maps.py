"""A block's own linear map and its transpose, by the library's kernels where the wiring has one.

`apply(wiring, a, w, b)`     z[batch, outputs] = sum over slots of a * w, plus b
`transpose(wiring, s, w)`    r[batch, inputs]  = sum over outputs of s * w

Both are None-returning for wirings without a kernel: the caller then folds tiles. Weights are flat in the wiring's
order, None for ones; biases are indexed by `wiring.bias`. float32 stays float32: no tf32 enters a denominator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatch
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from provnet.circuit.wiring import Broadcast, Convolution, Dense, Reduction, Scale, Wiring

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep tf32 out of matrix products and convolutions, and leave the settings as they were."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _ones(count: int, like: Tensor) -> Tensor:
    return torch.ones(count, dtype=like.dtype, device=like.device)


@singledispatch
def apply(wiring: Wiring, a: Tensor, w: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Return the block's sums, or None if no kernel of the library computes them."""
    return None


@singledispatch
def transpose(wiring: Wiring, s: Tensor, w: Tensor | None) -> Tensor | None:
    """Return the transposed map's sums, or None if no kernel of the library computes them."""
    return None


def has_transpose(wiring: Wiring) -> bool:
    """Tell whether `transpose` has a kernel for this wiring."""
    known = transpose.dispatch(type(wiring)) is not transpose.dispatch(Wiring)
    return known and not (isinstance(wiring, Broadcast) and wiring.taps is None)


@apply.register
def _(wiring: Dense, a: Tensor, w: Tensor | None, b: Tensor | None) -> Tensor:
    w = _ones(wiring.channels * wiring.fan, a) if w is None else w
    x = a.reshape(-1, wiring.rows, wiring.fan)
    return F.linear(x, w.reshape(wiring.channels, wiring.fan), b).reshape(len(a), wiring.outputs)


@transpose.register
def _(wiring: Dense, s: Tensor, w: Tensor | None) -> Tensor:
    w = _ones(wiring.channels * wiring.fan, s) if w is None else w
    r = s.reshape(-1, wiring.rows, wiring.channels) @ w.reshape(wiring.channels, wiring.fan)
    return r.reshape(len(s), wiring.inputs)


def _kernel(wiring: Convolution, w: Tensor | None, like: Tensor) -> Tensor:
    channels, fan = wiring.groups * wiring.channels, wiring.fan
    w = _ones(channels * fan, like) if w is None else w
    return w.reshape(channels, fan // prod(wiring.kernel), *wiring.kernel)


@apply.register
def _(wiring: Convolution, a: Tensor, w: Tensor | None, b: Tensor | None) -> Tensor:
    x = a.reshape(len(a), -1, *wiring.source_shape)
    z = _CONVOLVE[len(wiring.kernel)](
        x, _kernel(wiring, w, a), b, wiring.stride, wiring.padding, wiring.dilation, wiring.groups
    )
    return z.reshape(len(a), wiring.outputs)


@transpose.register
def _(wiring: Convolution, s: Tensor, w: Tensor | None) -> Tensor:
    x = s.reshape(len(s), -1, *wiring.target_shape)
    # A stride that does not divide the input's size leaves places at the far edge that no output reached.
    rest = tuple(
        size + 2 * pad - dilation * (kernel - 1) - 1 - (target - 1) * stride
        for size, pad, dilation, kernel, target, stride in zip(
            wiring.source_shape,
            wiring.padding,
            wiring.dilation,
            wiring.kernel,
            wiring.target_shape,
            wiring.stride,
            strict=True,
        )
    )
    r = _TRANSPOSE[len(wiring.kernel)](
        x, _kernel(wiring, w, s), None, wiring.stride, wiring.padding, rest, wiring.groups, wiring.dilation
    )
    return r.reshape(len(s), wiring.inputs)


@apply.register
def _(wiring: Scale, a: Tensor, w: Tensor | None, b: Tensor | None) -> Tensor:
    z = a if w is None else (a.reshape(len(a), -1, wiring.size, wiring.inner) * w.reshape(-1, 1)).reshape_as(a)
    return z if b is None else (z.reshape(len(a), -1, wiring.size, wiring.inner) + b.reshape(-1, 1)).reshape_as(a)


@transpose.register
def _(wiring: Scale, s: Tensor, w: Tensor | None) -> Tensor:
    return s if w is None else (s.reshape(len(s), -1, wiring.size, wiring.inner) * w.reshape(-1, 1)).reshape_as(s)


@transpose.register
def _(wiring: Reduction, s: Tensor, w: Tensor | None) -> Tensor:
    kept = [1 if d in wiring.dims else size for d, size in enumerate(wiring.shape)]
    spread = (s if w is None else s * w.reshape(-1)[0]).reshape(len(s), *kept).expand(len(s), *wiring.shape)
    return spread.reshape(len(s), wiring.inputs)


@transpose.register
def _(wiring: Broadcast, s: Tensor, w: Tensor | None) -> Tensor | None:
    if wiring.taps is None:
        return None  # one input is repeated: its messages must be folded
    first, second = (s, s) if w is None else (s * w.reshape(-1)[0], s * w.reshape(-1)[1])
    return torch.cat([first, second], dim=1)


def bias_total(wiring: Wiring, s: Tensor, b: Tensor) -> Tensor:
    """Return Σ over outputs of s * their bias, [batch]. Runs of outputs that share a bias are summed first."""
    if b.numel() == wiring.outputs:
        return s @ b
    match wiring:
        case Convolution():
            return s.reshape(len(s), b.numel(), -1).sum(2) @ b
        case Dense():
            return s.reshape(len(s), -1, wiring.channels).sum(1) @ b
        case Scale():
            return s.reshape(len(s), -1, wiring.size, wiring.inner).sum((1, 3)) @ b
    return s @ b[wiring.bias(torch.arange(wiring.outputs, device=s.device))]
