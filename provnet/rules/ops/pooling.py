"""Pooling over one, two or three spatial axes: averages are affine with fixed equal weights, maxima select."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

import torch
from torch import Tensor

from provnet.circuit.weights import Ones
from provnet.circuit.windowed import AdaptiveWindow, Window, adaptive_window, window
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.convolution import per_axis


def planes(op: Op, space: int) -> int:
    """Return how many planes one example has. Raises `CrossExampleError` if the examples lie on a spatial axis."""
    source = op.only()
    shape, layout = op.shape(source), op.layout(source)
    if layout.axis >= len(shape) - space:
        op.crosses(f"it runs over axis {layout.axis}, which holds the examples")
    return prod(layout.neurons(shape)[:-space])


def _window(op: Op, space: int) -> Window:
    kernel = per_axis(op["kernel_size"], space)
    return window(
        planes(op, space),
        op.shape(op.inputs[0])[-space:],
        op.shape(op.output)[-space:],
        kernel,
        per_axis(op["stride"], space) if op["stride"] else kernel,
        per_axis(op["padding"], space),
        per_axis(op["dilation"] or 1, space),
    )


def _adaptive(op: Op, space: int) -> AdaptiveWindow:
    return adaptive_window(planes(op, space), op.shape(op.inputs[0])[-space:], op.shape(op.output)[-space:])


def _space(op: Op) -> int:
    """Return the number of spatial axes, which stands in the op's name."""
    return next(axes for axes in (1, 2, 3) if f"{axes}d" in op.name)


def pooled(placed: Placed) -> Placed:
    """Return a pooling with the forms that the convention `pooling` picks from."""
    block = placed.block
    plain = replace(block, kind="affine", operands=tuple(replace(one, weight=Ones()) for one in block.operands))
    forms = {"seed": replace(plain, annotation="seed", places=None)}
    if block.kind == "selection":
        # A maximum is not the sum of its window: the denominators are made, not read off.
        forms["proportional"] = replace(plain, output_is_sum=False, places=None)
    return replace(placed, block=replace(block, convention="pooling", forms=forms))


def with_forms_of(pool: Placed, winners: Placed) -> Placed:
    """Return an index map of the entries that won, with the other forms of a pooling over the same entries.

    A minimum's winners are no maximum's, so they are listed; what shares proportionally does not ask who won.
    """
    block = replace(winners.block, convention="pooling", forms=pool.block.forms)
    return replace(winners, block=block)


@op_rule("aten.avg_pool1d", "aten.avg_pool2d", "aten.avg_pool3d")
def average(op: Op) -> Placed:
    """z = sum over the window of a / n, n by the op's own definition: padding counted or not, what ceil_mode adds
    never.
    """
    wiring = _window(op, _space(op))
    weight = 1 / _divisors(wiring, op["count_include_pad"], op["divisor_override"], op.tensor(op.output))
    return pooled(op.affine(wiring, weight, role="pooling", layout=op.layout(op.inputs[0])))


def _divisors(wiring: Window, count_padding: bool, override: int | None, like: Tensor) -> Tensor:
    """Return what the sum is divided by at each place of one plane: [places]."""
    lengths = []
    for size, target, kernel, stride, pad in zip(
        wiring.source_shape, wiring.target_shape, wiring.kernel, wiring.stride, wiring.padding, strict=True
    ):
        starts = [o * stride - pad for o in range(target)]
        ends = [min(start + kernel, size + pad) for start in starts]
        if not count_padding:
            starts, ends = [max(start, 0) for start in starts], [min(end, size) for end in ends]
        lengths.append([end - start for start, end in zip(starts, ends, strict=True)])
    counts = [override or prod(parts) for parts in product(*lengths)]
    return torch.tensor(counts, dtype=like.dtype, device=like.device)


@op_rule(
    "aten._adaptive_avg_pool2d", "aten._adaptive_avg_pool3d", "aten.adaptive_avg_pool1d", "aten.adaptive_avg_pool2d"
)
def adaptive_average(op: Op) -> Placed:
    """z = the mean over a window whose size depends on the place."""
    wiring = _adaptive(op, _space(op))
    like = op.tensor(op.output)
    lengths = [
        [((o + 1) * m + n - 1) // n - o * m // n for o in range(n)]
        for m, n in zip(wiring.source_shape, wiring.target_shape, strict=True)
    ]
    counts = torch.tensor([prod(parts) for parts in product(*lengths)], dtype=like.dtype, device=like.device)
    return pooled(op.affine(wiring, 1 / counts, role="pooling", layout=op.layout(op.inputs[0])))


@op_rule(
    "aten.max_pool1d",
    "aten.max_pool2d",
    "aten.max_pool3d",
    "aten.max_pool2d_with_indices",
    "aten.max_pool3d_with_indices",
)
def maximum(op: Op) -> Placed:
    """y = the maximum over the window: the first in row-major order wins. The indices are no activations, but tell."""
    placed = op.place("selection", "pooling", _window(op, _space(op)), op.layout(op.inputs[0]))
    indices = op.traced.outputs[1] if len(op.traced.outputs) > 1 else None
    if indices is None or placed.layout.axis != 0 or placed.layout.outer > 1 or placed.layout.order is not None:
        return pooled(placed)
    return pooled(replace(placed, block=replace(placed.block, places=op.tensor(indices))))


@op_rule("aten.adaptive_max_pool1d", "aten.adaptive_max_pool2d", "aten.adaptive_max_pool3d")
def adaptive_maximum(op: Op) -> Placed:
    """y = the maximum over a window whose size depends on the place."""
    return pooled(op.place("selection", "pooling", _adaptive(op, _space(op)), op.layout(op.inputs[0])))
