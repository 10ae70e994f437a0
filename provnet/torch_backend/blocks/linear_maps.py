"""A block's own linear map and its transpose, by the library's kernels where the wiring has one.

`apply(wiring, a, w, b, g)`     z[batch, outputs] = sum over slots of a * g(w), plus b
`transpose(wiring, s, w, g)`    r[batch, inputs]  = sum over outputs of s * g(w)

Both are None-returning for wirings without a kernel: the caller then folds tiles. Weights are flat in the wiring's
order, None for ones; biases are indexed by `wiring.bias`. `g` maps weights elementwise (None: the identity; never asked
for weights that are ones). float32 stays float32: no tf32 enters a denominator.

A dense layer may have most of a net's weights (VGG-16's first: 411 MB): its g(w) is made a few rows at a time, and rows
whose every s is 0, such as those of neurons behind a ReLU that are off, are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import singledispatch
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from provnet.circuit.einsums import Einsum
from provnet.circuit.table import Table
from provnet.circuit.transposed import TransposedConvolution
from provnet.circuit.windowed import Convolution
from provnet.circuit.wiring import Dense, OneToOne, Reduction, Scale, Wiring
from provnet.shared_setting import SharedSetting

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@contextmanager
def _without_tf32() -> Iterator[None]:
    owners: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    allowed = [owner for owner in owners if owner.allow_tf32]  # asking costs less than setting
    for owner in allowed:
        owner.allow_tf32 = False
    try:
        yield
    finally:
        for owner in allowed:
            owner.allow_tf32 = True


full_precision = SharedSetting(_without_tf32)
"""Keeps tf32 out of matrix products and convolutions, and leaves the settings as they were."""

WeightMap = Callable[[Tensor], Tensor] | None
"""g of a product f(a) * g(w), elementwise; None: the identity."""

PIECE = 1 << 18
"""Weights of a dense layer that are mapped at a time: they stay in the processor's cache."""


def _mapped(w: Tensor | None, g: WeightMap) -> Tensor | None:
    return w if w is None or g is None else g(w)


def _ones(count: int, like: Tensor) -> Tensor:
    return torch.ones(count, dtype=like.dtype, device=like.device)


@singledispatch
def apply(wiring: Wiring, a: Tensor, w: Tensor | None, b: Tensor | None, g: WeightMap = None) -> Tensor | None:
    """Return the block's sums, or None if no kernel of the library computes them."""
    return None


@singledispatch
def transpose(wiring: Wiring, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor | None:
    """Return the transposed map's sums, or None if no kernel of the library computes them."""
    return None


def has_transpose(wiring: Wiring) -> bool:
    """Return whether `transpose` has a kernel for this wiring."""
    return transpose.dispatch(type(wiring)) is not transpose.dispatch(Wiring)


def maps_weights(wiring: Wiring) -> bool:
    """Return whether the maps make g(w) themselves, piece by piece: a convolution's library wants it whole."""
    return not isinstance(wiring, Convolution)


def by_example(wiring: Wiring) -> bool:
    """Return whether `apply` and `transpose` take weights that differ by example, [batch, weights]."""
    return isinstance(wiring, Einsum | OneToOne)


@apply.register
def _(wiring: Dense, a: Tensor, w: Tensor | None, b: Tensor | None, g: WeightMap = None) -> Tensor:
    w = (_ones(wiring.channels * wiring.fan, a) if w is None else w).reshape(wiring.channels, wiring.fan)
    x = a.reshape(-1, wiring.fan)
    if g is None or w.numel() <= PIECE or w.requires_grad:
        return F.linear(x, w if g is None else g(w), b).reshape(len(a), wiring.outputs)
    found = torch.empty((len(x), wiring.channels), dtype=a.dtype, device=a.device)
    step = max(PIECE // wiring.fan, 1)
    for first in range(0, wiring.channels, step):
        some = slice(first, first + step)
        found[:, some] = F.linear(x, g(w[some]), None if b is None else b[some])
    return found.reshape(len(a), wiring.outputs)


@transpose.register
def _(wiring: Dense, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor:
    w = (_ones(wiring.channels * wiring.fan, s) if w is None else w).reshape(wiring.channels, wiring.fan)
    x = s.reshape(-1, wiring.channels)
    large = w.numel() > PIECE and not (w.requires_grad or s.requires_grad)
    found = _by_rows(x, w, g) if large else x @ (w if g is None else g(w))
    return found.reshape(len(s), wiring.inputs)


def _by_rows(x: Tensor, w: Tensor, g: WeightMap) -> Tensor:
    """Return x @ g(w), a piece of w's rows at a time, without the rows that no x uses where these are many."""
    used = x.any(0).nonzero().squeeze(1)
    sparse = 4 * len(used) < 3 * len(w)
    if g is None and not sparse:
        return x @ w
    found = torch.zeros((len(x), w.shape[1]), dtype=x.dtype, device=x.device)
    for rows in used.split(max(PIECE // w.shape[1], 1)) if len(used) else ():
        first, last = int(rows[0]), int(rows[-1])
        run = last - first + 1 == len(rows)  # a run is a view, others are copied
        part = w[first : last + 1] if run else w.index_select(0, rows)
        found.addmm_(x[:, first : last + 1] if run else x[:, rows], part if g is None else g(part))
    return found


def _kernel(wiring: Convolution | TransposedConvolution, w: Tensor | None, like: Tensor) -> Tensor:
    channels, fan = wiring.groups * wiring.channels, wiring.fan
    w = _ones(channels * fan, like) if w is None else w
    return w.reshape(channels, fan // prod(wiring.kernel), *wiring.kernel)


@apply.register
def _(wiring: Convolution, a: Tensor, w: Tensor | None, b: Tensor | None, g: WeightMap = None) -> Tensor:
    x = a.reshape(len(a), -1, *wiring.source_shape)
    z = _CONVOLVE[len(wiring.kernel)](
        x, _kernel(wiring, _mapped(w, g), a), b, wiring.stride, wiring.padding, wiring.dilation, wiring.groups
    )
    return z.reshape(len(a), wiring.outputs)


@transpose.register
def _(wiring: Convolution, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor:
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
        x, _kernel(wiring, _mapped(w, g), s), None, wiring.stride, wiring.padding, rest, wiring.groups, wiring.dilation
    )
    return r.reshape(len(s), wiring.inputs)


def _spreading(wiring: TransposedConvolution, w: Tensor | None, like: Tensor) -> Tensor:
    """Return the weight as torch's transposed convolution takes it, [inputs' channels, a group's outputs, *kernel]."""
    kernel = _kernel(wiring, w, like).unflatten(0, (wiring.groups, wiring.channels))
    return kernel.transpose(1, 2).flatten(0, 1)


@apply.register
def _(wiring: TransposedConvolution, a: Tensor, w: Tensor | None, b: Tensor | None, g: WeightMap = None) -> Tensor:
    x, kernel = a.reshape(len(a), -1, *wiring.source_shape), _spreading(wiring, _mapped(w, g), a)
    geometry = zip(*_axes(wiring), strict=True)
    # What the far edge has beyond the last window is a place that no input reaches: its sum is the bias.
    rest = tuple(t - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for n, t, k, s, p, d in geometry)
    z = _TRANSPOSE[len(wiring.kernel)](
        x, kernel, b, wiring.stride, wiring.padding, rest, wiring.groups, wiring.dilation
    )
    return z.reshape(len(a), wiring.outputs)


@transpose.register
def _(wiring: TransposedConvolution, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor:
    x, kernel = s.reshape(len(s), -1, *wiring.target_shape), _spreading(wiring, _mapped(w, g), s)
    found = _CONVOLVE[len(wiring.kernel)](
        x, kernel, None, wiring.stride, wiring.padding, wiring.dilation, wiring.groups
    )
    # Places that an output_padding appended may begin one more window: no input is there.
    for axis, size in enumerate(wiring.source_shape):
        found = found.narrow(2 + axis, 0, size)
    return found.reshape(len(s), wiring.inputs)


def _axes(wiring: TransposedConvolution) -> tuple[tuple[int, ...], ...]:
    return wiring.source_shape, wiring.target_shape, wiring.kernel, wiring.stride, wiring.padding, wiring.dilation


@apply.register
def _(wiring: Scale, a: Tensor, w: Tensor | None, b: Tensor | None, g: WeightMap = None) -> Tensor:
    w = _mapped(w, g)
    z = a if w is None else (a.reshape(len(a), -1, wiring.size, wiring.inner) * w.reshape(-1, 1)).reshape_as(a)
    return z if b is None else (z.reshape(len(a), -1, wiring.size, wiring.inner) + b.reshape(-1, 1)).reshape_as(a)


@transpose.register
def _(wiring: Scale, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor:
    w = _mapped(w, g)
    return s if w is None else (s.reshape(len(s), -1, wiring.size, wiring.inner) * w.reshape(-1, 1)).reshape_as(s)


@transpose.register
def _(wiring: Reduction, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor:
    w = _mapped(w, g)
    kept = [1 if d in wiring.dims else size for d, size in enumerate(wiring.shape)]
    spread = (s if w is None else s * w.reshape(-1)[0]).reshape(len(s), *kept).expand(len(s), *wiring.shape)
    return spread.reshape(len(s), wiring.inputs)


def _labelled(x: Tensor, wiring: Einsum, labels: str) -> tuple[Tensor, str]:
    """Return a flat tensor along its labels, and the labels, with that of the examples before where it has them."""
    shape = tuple(wiring.size[label] for label in labels)
    return (x.reshape(len(x), *shape), "Z" + labels) if x.dim() == 2 else (x.reshape(shape), labels)


def _einsum(wiring: Einsum, x: Tensor, over: str, w: Tensor | None, to: str) -> Tensor:
    """Return the sum over the labels that `to` lacks of x, which lies along `over`, times the weights."""
    rows, labels = _labelled(x, wiring, over)
    parts, names = [rows], [labels]
    missing = "".join(label for label in to if label not in over)
    if w is not None:
        weights, labels = _labelled(w, wiring, wiring.weight)
        parts.append(weights)
        names.append(labels)
        missing = "".join(label for label in missing if label not in wiring.weight)
    if missing:  # what neither has is repeated
        parts.append(torch.ones([wiring.size[label] for label in missing], dtype=x.dtype, device=x.device))
        names.append(missing)
    return torch.einsum(f"{','.join(names)}->Z{to}", *parts).reshape(len(x), -1)


def _unweighted(wiring: Einsum) -> bool:
    """Whether no label belongs to the weights alone: then weights that are all one need not be made."""
    return all(label in wiring.input for label in wiring.weight)


@apply.register
def _(wiring: Einsum, a: Tensor, w: Tensor | None, b: Tensor | None, g: WeightMap = None) -> Tensor | None:
    if w is None and not _unweighted(wiring):
        return None
    z = _einsum(wiring, a, wiring.input, _mapped(w, g), wiring.output_labels)
    return z if b is None else z + b


@transpose.register
def _(wiring: Einsum, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor | None:
    if w is None and not _unweighted(wiring):
        return None
    return _einsum(wiring, s, wiring.output_labels, _mapped(w, g), wiring.input)


@apply.register
def _(wiring: OneToOne, a: Tensor, w: Tensor | None, b: Tensor | None, g: WeightMap = None) -> Tensor:
    w = _mapped(w, g)
    z = a if w is None else a * w
    return z if b is None else z + b


@transpose.register
def _(wiring: OneToOne, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor:
    w = _mapped(w, g)
    return s if w is None else s * w


def _slots(wiring: Table, like: Tensor, w: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, slot by slot, which input of its row each output reads, and its weight there; 0 where it has no edge."""
    outputs = torch.arange(wiring.outputs // wiring.rows, device=like.device)
    for slot in range(wiring.fan):
        index, present, weight = wiring.source(outputs, slot)
        yield index, present.to(like.dtype) if w is None else torch.where(present, w[weight], 0)


@apply.register
def _(wiring: Table, a: Tensor, w: Tensor | None, b: Tensor | None, g: WeightMap = None) -> Tensor:
    x = a.reshape(len(a), wiring.rows, -1)
    z = sum(x.index_select(2, index) * weight for index, weight in _slots(wiring, a, _mapped(w, g)))
    assert isinstance(z, Tensor)
    return z.reshape(len(a), -1) if b is None else z.reshape(len(a), -1) + b


@transpose.register
def _(wiring: Table, s: Tensor, w: Tensor | None, g: WeightMap = None) -> Tensor:
    x = s.reshape(len(s), wiring.rows, -1)
    found = s.new_zeros((len(s), wiring.rows, wiring.inputs // wiring.rows))
    for index, weight in _slots(wiring, s, _mapped(w, g)):
        found = found.index_add(2, index, x * weight) if s.requires_grad else found.index_add_(2, index, x * weight)
    return found.reshape(len(s), wiring.inputs)


def transpose_scaled(wiring: Wiring, s: Tensor, w: Tensor, scale: Tensor) -> Tensor | None:
    """Return `transpose` for the weight w * scale, one number a row of w. It writes to s."""
    rows = (len(s), len(scale), -1) if wiring.channel_axis == 0 else (len(s), -1, len(scale), 1)
    s.view(rows).mul_(scale[:, None])
    return transpose(wiring, s, w)


def bias_of_outputs(wiring: Wiring, b: Tensor) -> Tensor:
    """Return the bias of every output, [batch, outputs], of biases that differ by example, [batch, biases]."""
    return b if b.shape[1] == wiring.outputs else b[:, wiring.bias(torch.arange(wiring.outputs, device=b.device))]


def bias_total(wiring: Wiring, s: Tensor, b: Tensor) -> Tensor:
    """Return Σ over outputs of s * their bias, [batch]; b is flat, or [batch, biases] where examples differ in it.

    Runs of outputs that share a bias are summed first.
    """
    if b.dim() == 2:
        return torch.linalg.vecdot(s, bias_of_outputs(wiring, b))
    if b.numel() == wiring.outputs:
        return s @ b
    match wiring:
        case Convolution() | TransposedConvolution():
            return s.reshape(len(s), b.numel(), -1).sum(2) @ b
        case Dense():
            return s.reshape(len(s), -1, wiring.channels).sum(1) @ b
        case Scale():
            return s.reshape(len(s), -1, wiring.size, wiring.inner).sum((1, 3)) @ b
    return s @ b[wiring.bias(torch.arange(wiring.outputs, device=s.device))]
