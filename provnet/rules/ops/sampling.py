"""Entries that are read at places of a grid, and columns that are laid back over an image: linear maps by place."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from provnet.capture.execution import Ref
from provnet.circuit.einsums import einsum_wiring
from provnet.circuit.table import listed, table
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.pooling import planes

MOST = 1 << 26
"""Weights that are listed, all examples together."""


@op_rule("aten.grid_sampler_2d", "aten.grid_sampler_3d")
def grid_sampler(op: Op) -> Placed:
    """z_p = Σ_q w_pq a_q over the neighbours of the place that a constant grid says; w by the op on unit images."""
    x, grid = op["input"], op["grid"]
    if op.active(grid) or not op.active(x):
        op.missing("its grid depends on a source, and its weights are cubic in it: take mode='bilinear'")
    shape, space = op.shape(x), len(op.shape(x)) - 2
    if op.layout(x) != Layout():
        op.crosses("its examples do not lie on the first axis")
    before, after = int(np.prod(shape[2:])), int(np.prod(op.shape(op.output)[2:]))
    if op.batch * before * after > MOST:
        op.missing(f"a grid with more than {MOST} pairs of places")
    units = torch.eye(before, dtype=torch.float64).reshape(1, before, *shape[2:]).expand(op.batch, *(-1,) * (space + 1))

    def given(ref: Ref) -> Tensor:
        return units if op.active(ref) else op.tensor(ref).to("cpu", torch.float64)

    weights = op.replay(given)[0].reshape(op.batch, before, after).mT.to(op.tensor(op.output))
    alike = bool((weights == weights[:1]).all())
    wiring = einsum_wiring("cq", "pq", "cp", {"c": shape[1], "q": before, "p": after})
    return op.affine(wiring, weights[0] if alike else weights, role="sum", weight_by_example=not alike)


@op_rule("aten.col2im")
def folded(op: Op) -> Placed:
    """z = the sum of the columns' entries at each place of the image: where `im2col` would have read them."""
    planes(op, 2)
    height, width = op.shape(op.output)[-2:]
    numbers = torch.arange(1, height * width + 1, dtype=torch.float64).reshape(1, 1, height, width)
    settings = op["kernel_size"], op["dilation"], op["padding"], op["stride"]
    places = torch.ops.aten.im2col(numbers, *settings).reshape(-1).long().numpy() - 1  # -1: in the padding
    inside = places > -1
    index = listed(places[inside], np.flatnonzero(inside), height * width)
    rows = op.size(op.only()) // len(places)
    return op.affine(table(index, len(places), rows), role="sum", layout=op.layout(op.only()))
