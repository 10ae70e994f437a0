"""What a wiring must be to be read safely, one function a class: a file may claim any numbers.

    faults_of(wiring)    yields what is wrong with its own fields
    weights_of(wiring)   is how many weights an example it reads
    biases_of(wiring)    is how many biases an example it reads

A wiring is legal if the builder that traces use makes it again from its geometry, field by field. What the builder is
given is bounded first, so that no claim costs more time or memory than the neurons that the file really holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import singledispatch
from math import prod

import numpy as np

from provnet.circuit.einsums import Einsum, einsum_wiring
from provnet.circuit.table import Table
from provnet.circuit.transposed import TransposedConvolution, transposed_convolution
from provnet.circuit.windowed import AdaptiveWindow, Convolution, Window, adaptive_window, convolution, window
from provnet.circuit.wiring import (
    Dense,
    Expand,
    Gather,
    GatherByExample,
    OneToOne,
    Part,
    Reduction,
    Scale,
    Wiring,
    dense,
    reduction,
)

FURTHEST_WEIGHT = 1 << 40
"""More weights than any file or memory holds."""

MARGIN = 1 << 16
"""How far a stride, a padding, a dilation or a kernel may reach beyond the neurons that it is laid over."""


@singledispatch
def faults_of(wiring: Wiring) -> Iterator[str]:
    """Yield what is wrong with the fields of a wiring. `inputs` and `outputs` are those of the tensors by then."""
    yield f"its wiring {type(wiring).__name__} is of no known kind"


@singledispatch
def weights_of(wiring: Wiring) -> int:
    """Return how many weights a wiring that is sound reads: one more than the largest weight index."""
    return wiring.outputs


@singledispatch
def examples_of(wiring: Wiring) -> int | None:
    """Return how many examples a wiring has that differs from example to example, None of another."""
    return None


@singledispatch
def biases_of(wiring: Wiring) -> int:
    """Return how many biases a wiring that is sound reads."""
    return wiring.outputs


@faults_of.register
def _(wiring: OneToOne) -> Iterator[str]:
    yield from _unless_made_again(wiring, OneToOne(wiring.inputs, wiring.inputs))


@faults_of.register
def _(wiring: Gather) -> Iterator[str]:
    index = np.asarray(wiring.index)
    if index.dtype != np.int64 or index.shape != (wiring.outputs,):
        yield f"its index is {index.dtype} {list(index.shape)}, and wants {wiring.outputs} int64"
        return
    if index.min() < -1 or index.max() >= wiring.inputs:
        yield f"its index leaves the range from -1 to {wiring.inputs - 1}"
    if wiring.taps not in (None, 1) or (wiring.fan, wiring.channels, wiring.groups, wiring.shift) != (1, 1, 1, None):
        yield "its wiring claims more than one slot an output"
    elif wiring.taps == 1 and len(np.unique(index[index > -1])) < int((index > -1).sum()):
        yield "its index claims to be distinct and is not"


@faults_of.register
def _(wiring: GatherByExample) -> Iterator[str]:
    index = np.asarray(wiring.index)
    if index.dtype != np.int64 or index.ndim != 2 or index.shape[1] != wiring.outputs or not len(index):
        yield f"its index is {index.dtype} {list(index.shape)}, and wants [batch, {wiring.outputs}] int64"
        return
    yield from (f"in example {n}, {fault}" for n in range(len(index)) for fault in faults_of(wiring.of_example(n)))
    if (wiring.fan, wiring.channels, wiring.groups, wiring.shift) != (1, 1, 1, None):
        yield "its wiring claims more than one slot an output"


@weights_of.register(Gather)
@weights_of.register(GatherByExample)
def _(wiring: Gather | GatherByExample) -> int:
    return wiring.inputs


@examples_of.register
def _(wiring: GatherByExample) -> int:
    return len(wiring.index)


@faults_of.register
def _(wiring: Expand) -> Iterator[str]:
    shape, part = wiring.shape, wiring.part
    fit = len(shape) == len(part) and all(p in (1, s) for p, s in zip(part, shape, strict=True))
    if not fit or not _sizes(shape):
        yield f"a tensor of the shape {part} does not expand to {shape}"
        return
    yield from _unless_made_again(wiring, Expand(prod(part), prod(shape), shape=shape, part=part))


@weights_of.register
def _(wiring: Expand) -> int:
    return wiring.inputs


@faults_of.register
def _(wiring: Scale) -> Iterator[str]:
    if min(wiring.inner, wiring.size) < 1 or wiring.outputs % (wiring.inner * wiring.size):
        yield f"{wiring.outputs} neurons are not channels of {wiring.size} times {wiring.inner}"
        return
    again = Scale(wiring.inputs, wiring.inputs, inner=wiring.inner, size=wiring.size)
    yield from _unless_made_again(wiring, again)


@weights_of.register
@biases_of.register
def _(wiring: Scale) -> int:
    return wiring.size


@faults_of.register
def _(wiring: Dense) -> Iterator[str]:
    yield from _unless_made_again(wiring, dense(wiring.rows, wiring.fan, wiring.channels))


@weights_of.register
def _(wiring: Dense) -> int:
    return wiring.channels * wiring.fan


@biases_of.register
def _(wiring: Dense) -> int:
    return wiring.channels


@faults_of.register
def _(wiring: Window) -> Iterator[str]:
    yield from _geometry_faults(wiring) or _unless_made_again(
        wiring, window(wiring.inputs // prod(wiring.source_shape), *_geometry(wiring))
    )


@weights_of.register(Window)
@weights_of.register(AdaptiveWindow)
def _(wiring: Window | AdaptiveWindow) -> int:
    return prod(wiring.target_shape)


@faults_of.register
def _(wiring: Convolution) -> Iterator[str]:
    faults = _geometry_faults(wiring)
    if not faults and (wiring.groups < 1 or (wiring.inputs // prod(wiring.source_shape)) % wiring.groups):
        faults = [f"its input channels are no {wiring.groups} groups"]
    if not faults and (wiring.channels < 1 or wiring.fan < 1):
        faults = ["it has no channels"]
    yield from faults or _unless_made_again(
        wiring,
        convolution(
            wiring.inputs // prod(wiring.source_shape),
            wiring.channels * wiring.groups,
            wiring.groups,
            *_geometry(wiring),
        ),
    )


@weights_of.register
def _(wiring: Convolution) -> int:
    return wiring.groups * wiring.channels * wiring.fan


@biases_of.register
def _(wiring: Convolution) -> int:
    return wiring.groups * wiring.channels


@faults_of.register
def _(wiring: AdaptiveWindow) -> Iterator[str]:
    source, target = wiring.source_shape, wiring.target_shape
    if len(source) != len(target) or not _covers(wiring.inputs, source) or not _covers(wiring.outputs, target):
        yield f"planes of {source} pooled to {target} are not {wiring.inputs} neurons feeding {wiring.outputs}"
        return
    yield from _unless_made_again(wiring, adaptive_window(wiring.inputs // prod(source), source, target))


@faults_of.register
def _(wiring: Einsum) -> Iterator[str]:
    pairs = [tuple(map(type, pair)) for pair in wiring.sizes]
    if any(pair != (str, int) for pair in pairs):
        yield f"the sizes {wiring.sizes} are no labels with their sizes"
        return
    labels = [label for label, _ in wiring.sizes]
    lists = (wiring.input, wiring.weight, wiring.output_labels)
    used = set("".join(lists))
    if not _sizes([size for _, size in wiring.sizes]) or len(set(labels)) < len(labels) or used - set(labels):
        yield f"the labels {lists} do not go with the sizes {wiring.sizes}"
        return
    if any(len(set(names)) < len(names) for names in lists) or any(len(label) != 1 for label in labels):
        yield f"a label stands twice in {lists}"
        return
    if (
        not _covers(wiring.inputs, [wiring.size[x] for x in wiring.input])
        or prod(wiring.size[x] for x in wiring.output_labels) != wiring.outputs
    ):
        yield f"the labels {lists} do not count the neurons"
        return
    if prod(wiring.size[x] for x in wiring.weight) > FURTHEST_WEIGHT:
        yield f"its weights along {wiring.weight!r} are more than any memory holds"
        return
    again = einsum_wiring(wiring.input, wiring.weight, wiring.output_labels, wiring.size, repeated=True)
    yield from _unless_made_again(wiring, again)


@weights_of.register
def _(wiring: Einsum) -> int:
    return prod(wiring.size[label] for label in wiring.weight)


@weights_of.register
def _(wiring: Part) -> int:
    return wiring.inputs


@faults_of.register
def _(wiring: Part) -> Iterator[str]:
    first, size, width = wiring.first, wiring.size, wiring.width
    if min(size, width) < 1 or first < 0 or first + size > width or wiring.outputs % width:
        yield f"entries {first} to {first + size} are no part of rows of {width}"
        return
    inputs = wiring.outputs // width * size
    yield from _unless_made_again(wiring, Part(inputs, wiring.outputs, first=first, size=size, width=width))


@faults_of.register
def _(wiring: Reduction) -> Iterator[str]:
    shape, dims = wiring.shape, wiring.dims
    if not _sizes(shape) or list(dims) != sorted({d for d in dims if 0 <= d < len(shape)}):
        yield f"{dims} are no axes, ascending, of the shape {shape}"
        return
    yield from _unless_made_again(wiring, reduction(shape, dims))


@weights_of.register
def _(wiring: Reduction) -> int:
    return 1


@faults_of.register
def _(wiring: Table) -> Iterator[str]:
    rows, index = wiring.rows, np.asarray(wiring.index)
    if rows < 1 or wiring.inputs % rows or wiring.outputs % rows:
        yield f"{wiring.inputs} neurons feeding {wiring.outputs} are no {rows} rows"
        return
    shape = (wiring.outputs // rows, wiring.fan)
    if index.dtype != np.int64 or index.shape != shape:
        yield f"its index is {index.dtype} {list(index.shape)}, and wants {list(shape)} int64"
    elif index.min() < -1 or index.max() >= wiring.inputs // rows:
        yield f"its index leaves the range from -1 to {wiring.inputs // rows - 1}"
    if (wiring.channels, wiring.groups, wiring.taps, wiring.shift) != (1, 1, None, None):
        yield "its wiring claims more than a table promises"


@weights_of.register
def _(wiring: Table) -> int:
    return wiring.outputs // wiring.rows * wiring.fan


@faults_of.register
def _(wiring: TransposedConvolution) -> Iterator[str]:
    source, target = wiring.source_shape, wiring.target_shape
    if len({len(part) for part in _geometry(wiring)}) > 1 or not 1 <= len(source) <= 3:
        yield "its shapes and its window differ in the number of axes"
    elif not _covers(wiring.inputs, source) or not _covers(wiring.outputs, target):
        yield f"planes of {source} and {target} are not {wiring.inputs} neurons feeding {wiring.outputs}"
    elif min(*wiring.kernel, *wiring.stride, *wiring.dilation) < 1 or min(wiring.padding) < 0:
        yield "kernel, stride and dilation are at least one, and padding is at least zero"
    elif max(*wiring.kernel, *wiring.stride, *wiring.dilation, *wiring.padding) > max(*source, *target) + MARGIN:
        yield f"its window reaches further than {MARGIN:,} beyond its planes"
    elif wiring.groups < 1 or wiring.channels < 1 or (wiring.inputs // prod(source)) % wiring.groups:
        yield f"its input channels are no {wiring.groups} groups"
    else:
        channels = wiring.inputs // prod(source), wiring.channels * wiring.groups
        yield from _unless_made_again(wiring, transposed_convolution(*channels, wiring.groups, *_geometry(wiring)))


@weights_of.register
def _(wiring: TransposedConvolution) -> int:
    return wiring.groups * wiring.channels * wiring.fan


@biases_of.register
def _(wiring: TransposedConvolution) -> int:
    return wiring.groups * wiring.channels


def _geometry(wiring: Window | TransposedConvolution) -> tuple[tuple[int, ...], ...]:
    return (
        wiring.source_shape,
        wiring.target_shape,
        wiring.kernel,
        wiring.stride,
        wiring.padding,
        wiring.dilation,
    )


def _geometry_faults(wiring: Window) -> list[str]:
    """Return what is wrong with windows: every number small enough to reckon with, and each window over the plane."""
    source, target = wiring.source_shape, wiring.target_shape
    if len({len(part) for part in _geometry(wiring)}) > 1 or not 1 <= len(source) <= 3:
        return ["its shapes and its window differ in the number of axes"]
    if not _covers(wiring.inputs, source) or not _covers(wiring.outputs, target):
        return [f"planes of {source} and {target} are not {wiring.inputs} neurons feeding {wiring.outputs}"]
    for d, size in enumerate(source):
        kernel, stride, padding, dilation = (part[d] for part in _geometry(wiring)[2:])
        if min(kernel, stride, dilation) < 1 or padding < 0:
            return ["kernel, stride and dilation are at least one, and padding is at least zero"]
        if max(kernel, stride, dilation, padding) > size + MARGIN:
            return [f"its window reaches further than {MARGIN:,} beyond a plane of {source}"]
        if kernel > 1 and (kernel - 1) * dilation >= size + 2 * padding + stride:
            return [f"its window is wider than a plane of {source} with its padding"]
        if (target[d] - 1) * stride >= size + 2 * padding:
            return [f"its last window lies beyond a plane of {source} with its padding"]
    if prod(wiring.kernel) > wiring.inputs + MARGIN:
        return ["its window has more places than its input has neurons"]
    return []


def _covers(neurons: int, shape: Sequence[int]) -> bool:
    """Return whether some number of planes of a shape make up the neurons."""
    return _sizes(shape) and neurons % prod(shape) == 0


def _sizes(shape: Sequence[int]) -> bool:
    """Return whether all numbers are sizes of axes."""
    return all(size >= 1 for size in shape)


def _unless_made_again(wiring: Wiring, again: Wiring) -> Iterator[str]:
    names = [name for name, value in vars(again).items() if getattr(wiring, name) != value]
    if names:
        stated, wanted = (", ".join(str(getattr(one, name)) for name in names) for one in (wiring, again))
        yield f"its {type(wiring).__name__} has {', '.join(names)} = {stated}, where {wanted} fits the rest"
