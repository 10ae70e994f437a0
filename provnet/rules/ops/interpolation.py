"""Interpolations: each entry is a sum of a few neighbours, with weights that depend on its place alone."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.table import table
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.pooling import planes

aten = torch.ops.aten

ALONG = {
    "upsample_linear1d": ("upsample_linear1d", 1),
    "upsample_bilinear2d": ("upsample_linear1d", 2),
    "upsample_trilinear3d": ("upsample_linear1d", 3),
    "upsample_bicubic2d": ("upsample_bicubic2d", 2),
    "_upsample_bilinear2d_aa": ("_upsample_bilinear2d_aa", 2),
    "_upsample_bicubic2d_aa": ("_upsample_bicubic2d_aa", 2),
}
"""The op that says what an interpolation does along one axis, and how many axes it has."""


@op_rule(*(f"aten.{name}" for name in ALONG))
def interpolated(op: Op) -> Placed:
    """z = sum of w * a over the neighbours of a place: the product over the axes of what each axis' own op says."""
    name, space = ALONG[op.short]
    channels = planes(op, space)
    before, after = op.shape(op.only())[-space:], op.shape(op.output)[-space:]
    axes = [
        _sparse(_matrix(name, sizes, bool(op["align_corners"]), scale))
        for *sizes, scale in zip(before, after, _scales(op, space), strict=True)
    ]
    index, weights, size = reduce(_joined, axes)
    held = torch.from_numpy(weights).to(op.tensor(op.output))
    return op.affine(table(index, size, channels), held, role="sum", layout=op.layout(op.only()))


def _scales(op: Op, space: int) -> list[float | None]:
    """Return the scale that was given for each axis, None where the sizes alone say it."""
    if op["scale_factors"] is not None:
        return list(op["scale_factors"])
    names = ["scales"] if space == 1 else ["scales_d", "scales_h", "scales_w"][-space:]
    return [op[name] for name in names]


def _matrix(name: str, sizes: list[int], aligned: bool, scale: float | None) -> np.ndarray:
    """Return the weights along one axis, [after, before]: the op run on the unit vectors."""
    before, after = sizes
    units = torch.eye(before, dtype=torch.float64)
    if name == "upsample_linear1d":
        return aten.upsample_linear1d(units[None], [after], aligned, scale)[0].T.numpy()
    function = getattr(aten, name)
    twice = units[None, :, :, None].repeat(1, 1, 1, 2)  # some of these ops misread an axis of size one
    found: Tensor = function(twice, [after, 2], aligned, scale, None)
    return found[0, :, :, 0].T.numpy()


def _sparse(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (index, weights, inputs): the entries of each row that are not 0, [rows, most of them], filled with -1."""
    used = matrix != 0
    fan = max(int(used.sum(1).max()), 1)
    order = np.argsort(~used, axis=1, kind="stable")[:, :fan]
    index = np.where(np.take_along_axis(used, order, 1), order, -1)
    return index, np.take_along_axis(matrix, order, 1), matrix.shape[1]


Axis = tuple[np.ndarray, np.ndarray, int]


def _joined(first: Axis, second: Axis) -> Axis:
    """Return two axes as one, row-major."""
    (outer, above, n), (inner, below, m) = first, second
    a, b = outer[:, None, :, None], inner[None, :, None, :]
    index = np.where((a > -1) & (b > -1), a * m + b, -1)
    weights = above[:, None, :, None] * below[None, :, None, :]
    shape = (len(outer) * len(inner), -1)
    return index.reshape(shape), weights.reshape(shape), n * m
