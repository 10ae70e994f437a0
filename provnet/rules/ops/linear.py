"""Linear maps of rows: every product of an active matrix with a constant one."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from provnet.capture.execution import Ref
from provnet.circuit.einsums import einsum_wiring
from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import dense
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout, one_example
from provnet.rules.ops.products import contracted


@op_rule("aten.linear")
def linear(op: Op) -> Placed:
    """z = x @ W.T + b, the weight [out, in]."""
    if op.active(op["weight"]) or (op["bias"] is not None and op.active(op["bias"])):
        op.missing("its weight or bias depends on a source")
    return rows_times(op, op["input"], op.tensor(op["weight"]), _bias(op, op["bias"]))


@op_rule("aten.addmm")
def addmm(op: Op) -> Placed:
    """z = beta * b + alpha * x @ w, the weight [in, out]."""
    return _product(op, op["mat1"], op["mat2"], op["alpha"], op["self"], op["beta"])


@op_rule("aten.mm", "aten.bmm", "aten.matmul")
def mm(op: Op) -> Placed:
    """z = x @ w or w @ x."""
    return _product(op, op["self"], op["other"] if op["mat2"] is None else op["mat2"])


@op_rule("aten.baddbmm")
def baddbmm(op: Op) -> Placed:
    """z = beta * b + alpha * x @ w for every matrix of a stack."""
    return _product(op, op["batch1"], op["batch2"], op["alpha"], op["self"], op["beta"])


@op_rule("aten.mv")
def mv(op: Op) -> Placed:
    """z = x @ w, the weight [in]; in a batch of one also W @ x, the weight [out, in]."""
    if op.active(op["vec"]) and not op.active(op["self"]) and op.batch == 1:
        return _row(op, op.tensor(op["self"]), None)
    if not op.active(op["self"]) or op.active(op["vec"]):
        op.missing("only a matrix of examples times a constant vector is a linear map of rows")
    return rows_times(op, op["self"], op.tensor(op["vec"])[None], None)


@op_rule("aten.addmv")
def addmv(op: Op) -> Placed:
    """z = beta * b + alpha * W @ x in a batch of one: a linear layer on an input without an axis for examples."""
    if op.active(op["mat"]) or op.active(op["self"]) or op.batch > 1:
        op.missing("only a constant matrix times the input of one example is a linear map")
    weight = op.tensor(op["mat"]) if op["alpha"] == 1 else op.tensor(op["mat"]) * op["alpha"]
    return _row(op, weight, _bias(op, op["self"], op["beta"]) if op["beta"] else None)


@op_rule("aten.dot", "aten.vdot")
def dot(op: Op) -> Placed:
    """z = x · w in a batch of one: a number."""
    first, second = op["self"], op["other"] or op["tensor"]
    if op.batch > 1 or (op.active(first) and op.active(second)):
        op.missing("only one example's vector times a constant one is a linear map")
    return _row(op, op.tensor(second if op.active(first) else first)[None], None)


def _row(op: Op, weight: Tensor, bias: Tensor | None) -> Placed:
    """Return z = W @ x + b for the vector of the only example: x is a row of features, without an axis before."""
    bias = None if bias is None else bias.expand(weight.shape[0])
    return op.affine(dense(1, weight.shape[1], weight.shape[0]), weight, bias, layout=one_example(op.shape(op.output)))


def _product(op: Op, left: Ref, right: Ref, alpha: float = 1, bias: Any = None, beta: float = 1) -> Placed:
    if op.active(left) and op.active(right):
        if bias is not None and beta != 0:
            op.missing("a product of two tensors that depend on a source, with an addend; write the sum apart")
        return contracted(op, left, right, 1 if alpha is None else alpha)
    if bias is not None and beta != 0 and op.active(bias):
        op.missing("its addend depends on a source")
    b = _bias(op, bias, beta) if bias is not None and beta != 0 else None
    w = op.tensor(right if op.active(left) else left)
    w = w if alpha in (None, 1) else w * alpha
    if len(op.shape(left)) == len(op.shape(right)) == 2:
        return rows_times(op, left, w.t(), b) if op.active(left) else matrix_times(op, w, right, b)
    if len(op.shape(left)) == len(op.shape(right)) == 3:
        return stacked_rows(op, left, w, b) if op.active(left) else stacked_matrix(op, w, right, b)
    op.missing("only stacks of matrices, and matrices, have a rule")


def _bias(op: Op, bias: Any, beta: float = 1) -> Tensor | None:
    if bias is None:
        return None
    b = op.tensor(bias)
    return b if beta == 1 else b * beta


def _feature_bias(op: Op, bias: Tensor | None, features: int, axis: int) -> Tensor | None:
    """Return a bias that is one number a feature, features on the result's `axis`; anything else is refused."""
    if bias is None:
        return None
    aligned = bias.reshape((1,) * (len(op.shape(op.output)) - bias.dim()) + tuple(bias.shape))
    if any(size != 1 for dim, size in enumerate(aligned.shape) if dim != axis):
        op.missing(f"an addend of the shape {list(bias.shape)} that is not one number a feature")
    return aligned.reshape(-1).expand(features)


def rows_times(op: Op, x: Ref, weight: Tensor, bias: Tensor | None) -> Placed:
    """z[..., r, f] = sum over i of x[..., r, i] * w[f, i] + b[f]: features on the last axis, the weight [out, in]."""
    shape, layout = op.shape(x), op.layout(x)
    if layout.axis == len(shape) - 1:
        op.crosses(f"it sums over axis {layout.axis} of its input, which holds the examples")
    rows = prod(layout.neurons(shape)[:-1])
    b = _feature_bias(op, bias, weight.shape[0], len(op.shape(op.output)) - 1)
    return op.affine(dense(rows, weight.shape[1], weight.shape[0]), weight, b, layout=layout)


def matrix_times(op: Op, weight: Tensor, x: Ref, bias: Tensor | None) -> Placed:
    """z[f, y] = sum over i of w[f, i] * x[i, y] + b[f]: a convolution with a kernel of one place."""
    layout = op.layout(x)
    if layout.axis != 1:
        op.crosses(f"it sums over axis {layout.axis} of its input, which holds the examples")
    b = _feature_bias(op, bias, weight.shape[0], 0)
    return op.affine(_pointwise(weight.shape[1], weight.shape[0], 1, layout.rows), weight, b, layout=layout)


def _pointwise(fan_in: int, fan_out: int, groups: int, places: int) -> Any:
    one = (1,)
    return convolution(groups * fan_in, groups * fan_out, groups, (places,), (places,), one, one, (0,), one)


def _shared(weight: Tensor) -> bool:
    """Return whether a stack of matrices is one matrix, repeated by a view."""
    return weight.shape[0] == 1 or weight.stride(0) == 0


def stacked_rows(op: Op, x: Ref, weight: Tensor, bias: Tensor | None) -> Placed:
    """z[g, r, f] = sum over i of x[g, r, i] * w[g, i, f]: one matrix for all g, or one an example."""
    layout = op.layout(x)
    if layout.axis == 2:
        op.crosses("it sums over axis 2 of its input, which holds the examples")
    if _shared(weight):
        return rows_times(op, x, weight[0].t(), bias)
    if layout != Layout(0):
        return _stack(op, x, weight, bias, ("gri", "gif", "grf"))
    rows, fan_in, fan_out = op.shape(x)[1], weight.shape[1], weight.shape[2]
    b = _feature_bias(op, bias, fan_out, 2)
    return op.affine(dense(rows, fan_in, fan_out), weight.mT, b, weight_by_example=True, layout=layout)


def stacked_matrix(op: Op, weight: Tensor, x: Ref, bias: Tensor | None) -> Placed:
    """z[g, f, y] = sum over i of w[g, f, i] * x[g, i, y]: a convolution with a kernel of one place."""
    layout, (stack, fan_out, fan_in) = op.layout(x), weight.shape
    if layout.axis == 1:
        op.crosses("it sums over axis 1 of its input, which holds the examples")
    if layout == Layout(0):
        shared = _shared(weight)
        b = _feature_bias(op, bias, fan_out, 1)
        wiring = _pointwise(fan_in, fan_out, 1, op.shape(x)[2])
        return op.affine(wiring, weight[0] if shared else weight, b, weight_by_example=not shared, layout=layout)
    groups = layout.rows if layout.axis == 0 else stack
    places = layout.rows if layout.axis == 2 else op.shape(x)[2]
    if layout.axis == 0 and not _shared(weight):
        return _stack(op, x, weight, bias, ("giy", "gfi", "gfy"))
    b = _feature_bias(op, bias, fan_out, 1)
    w = weight[:1].expand(groups, fan_out, fan_in) if layout.axis == 0 else weight
    return op.affine(
        _pointwise(fan_in, fan_out, groups, places), w, None if b is None else b.repeat(groups), layout=layout
    )


def _stack(op: Op, x: Ref, weight: Tensor, bias: Tensor | None, labels: tuple[str, str, str]) -> Placed:
    """z[g] = x[g] @ w[g] or w[g] @ x[g], the stack g within one example: as heads that lie beside the examples.

    labels   of the axes of x, of the weight and of the result
    """
    layout, axis = op.layout(x), labels[0][op.layout(x).axis]
    beside = "".join(name for name, size in (("p", layout.outer), ("q", layout.inner)) if size > 1)
    mine, other, out = (names.replace(axis, beside) for names in labels)
    sizes = {"p": layout.outer, "q": layout.inner}
    sizes |= dict(zip(labels[0], op.shape(x), strict=True)) | dict(zip(labels[1], weight.shape, strict=True))
    held = weight.detach()
    if axis == "g":
        held = layout.by_example(held, op.batch)
        alike = bool((held == held[:1]).all())
        held = held[0] if alike else held
    else:
        alike = True
    if bias is not None:
        op.missing("an addend to a product with a stack of different matrices")
    return op.affine(
        einsum_wiring(mine, other, out, sizes),
        held,
        weight_by_example=not alike,
        layout=replace(layout, axis=labels[2].index(axis)),
    )


def flat_weight(weight: Tensor, groups: int) -> Tensor:
    """Return a weight repeated for every one of `groups` equal groups."""
    return weight if groups == 1 else weight.repeat(groups, *(1,) * (weight.dim() - 1))
