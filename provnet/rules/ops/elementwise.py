"""Unit edges: ops that turn each entry into one entry, and scalings by constants. They pass relevance on as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from provnet.errors import TrainingModeError
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.broadcasting import result_layout, spread
from provnet.rules.ops.index_maps import wiring_of
from provnet.rules.ops.products import elementwise_product, quotient

UNARY = (
    "_prelu_kernel _to_copy abs acos acosh alias alias_copy arctan asin asinh atan atanh ceil celu clamp "
    "clamp_max clamp_min clone contiguous copysign cos cosh deg2rad detach digamma elu erf erfc erfinv exp exp2 "
    "expm1 fake_quantize_per_tensor_affine floor fmod frac gelu hardshrink hardsigmoid hardswish hardtanh i0 "
    "leaky_relu lgamma lift lift_fresh log log10 log1p log2 log_sigmoid log_sigmoid_forward logit mish mvlgamma "
    "nan_to_num neg polygamma positive prelu rad2deg reciprocal relu relu6 round rsqrt selu sgn sigmoid sign silu "
    "sin sinc sinh softplus softshrink softsign special_entr special_expit special_i1 "
    "special_i1e special_log_ndtr special_ndtr special_ndtri sqrt square tan tanh tanhshrink threshold to trunc"
)


@op_rule(*(f"aten.{name}" for name in UNARY.split()))
def unary(op: Op) -> Placed:
    """y_j = f(x_j): a unit edge for each entry, whatever f is. Constants of f (a PReLU's slopes) are no neurons."""
    return scaled(op)


@op_rule("aten.mul")
def mul(op: Op) -> Placed:
    """y = x * c with a constant c: unit edges. z = x * y of two traced tensors: a product."""
    first, second = op["self"], op["other"]
    if op.active(first) and op.active(second):
        return elementwise_product(op, first, second)
    return scaled(op)


@op_rule("aten.div", "aten.true_divide", "aten.floor_divide")
def div(op: Op) -> Placed:
    """y = x / c with a constant c, or c / x: unit edges. z = x / y of two traced tensors: a product of x and 1/y."""
    first, second = op["self"], op["other"]
    if op.active(first) and op.active(second):
        if op["rounding_mode"] is not None or op.short == "floor_divide":
            op.missing("a quotient that is rounded, of two tensors that depend on a source")
        return quotient(op, first, second)
    if op.active(second):
        placed = scaled(op)
        return replace(placed, block=replace(placed.block, function="divisor"))
    return scaled(op)


@op_rule("aten.pow", "aten.atan2", "aten.hypot", "aten.ldexp", "aten.remainder")
def scaled(op: Op) -> Placed:
    """y = x ** c and other functions of x and a constant c, which may broadcast: unit edges, some fanning out."""
    source = op.only()
    if op.shape(source) == op.shape(op.output):
        return op.unit_edges()
    layout = result_layout(op, [source])
    index = spread(op, source, layout)
    wiring = wiring_of(np.ascontiguousarray(index), op.size(source))
    return op.place("elementwise", "none", wiring, layout, function=op.short)


@op_rule("aten.dropout", "aten.native_dropout", "aten.feature_dropout", "aten.alpha_dropout")
def dropout(op: Op) -> Placed:
    """In evaluation dropout is the identity. Raises `TrainingModeError` in training mode, where the mask is drawn."""
    if op["train"]:
        raise TrainingModeError(f"{op} drops entries at random: call model.eval() before tracing.")
    return op.unit_edges(function="identity")
