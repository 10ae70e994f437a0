"""Rows that are multiplied by one of several matrices each: the experts of a mixture."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.circuit.deferred import Deferred
from provnet.circuit.einsums import einsum_wiring
from provnet.circuit.weights import PerExample
from provnet.rules.ops.base import Op, Placed, op_rule


@op_rule("aten._grouped_mm")
def grouped_mm(op: Op) -> Placed:
    """z[r] = x[r] @ w[e], the rows before offs[0] by the first matrix, those up to offs[1] by the second, and so on."""
    x, w, offsets = op["self"], op["mat2"], op["offs"]
    if not op.active(x) or op.active(w) or offsets is None or op["bias"] is not None:
        op.missing("only traced rows times constant matrices, up to given offsets and without a bias, have a rule")
    shape, layout = op.shape(x), op.layout(x)
    if len(shape) != 2 or layout.axis != 0:
        op.missing("its rows do not lie on the first axis")
    expert = torch.bucketize(torch.arange(shape[0]), op.tensor(offsets).cpu(), right=True)
    chosen = layout.by_example(expert, op.batch).reshape(op.batch, -1)
    sizes = {"r": chosen.shape[1], "i": shape[1], "f": op.shape(op.output)[1]}
    weights = PerExample(Deferred(_chosen, op.tensor(w), chosen))
    return op.affine(einsum_wiring("ri", "rif", "rf", sizes), weights, layout=layout)


def _chosen(matrices: Tensor, index: Tensor) -> Tensor:
    """Return the matrix of each row, [batch, rows, in, out]."""
    return matrices[index.to(matrices.device)]
