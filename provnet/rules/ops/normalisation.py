"""Batch normalisation in evaluation: an affine map of each channel, which `build` may fuse into the map before it."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from provnet.circuit.wiring import Scale
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.norms import normed

NAMES = (
    "aten.native_batch_norm",
    "aten._native_batch_norm_legit",
    "aten._native_batch_norm_legit_no_training",
    "aten._batch_norm_no_update",
    "aten.batch_norm",
    "aten.cudnn_batch_norm",
    "aten.miopen_batch_norm",
)


def scale_and_shift(op: Op) -> tuple[Tensor, Tensor]:
    """Return (w, b), one number a channel each, with z = w * x + b, in the model's dtype.

    Raises: `CrossExampleError` where the statistics are the batch's own.
    """
    training = op["training"] or op["train"] or op["use_input_stats"]
    if training or op["running_mean"] is None or op["running_var"] is None:
        op.crosses("it normalises by the statistics of its own input (training mode, or track_running_stats=False)")
    if set(op.inputs) != {(op["input"] or op["self"]).id}:
        op.missing("its statistics or parameters depend on a source")
    mean, variance = op.tensor(op["running_mean"]), op.tensor(op["running_var"])
    epsilon = op["epsilon"] if op["eps"] is None else op["eps"]
    scale = torch.rsqrt(variance + epsilon)
    scale = scale if op["weight"] is None else scale * op.tensor(op["weight"])
    shift = -mean * scale if op["bias"] is None else op.tensor(op["bias"]) - mean * scale
    return scale, shift


@op_rule(*NAMES)
def batch_norm(op: Op) -> Placed:
    """z[c] = w[c] * x[c] + b[c] with w = gamma / sqrt(var + eps) and b = beta - mean * w."""
    if op["running_mean"] is None and op.shape(op.inputs[0])[0] == 1:
        found = of_instances(op)
        if found is not None:
            return found
    scale, shift = scale_and_shift(op)
    source = op.inputs[0]
    shape, layout = op.shape(source), op.layout(source)
    if layout.axis == 1:
        op.crosses("axis 1, whose entries it treats as channels, holds the examples")
    neurons = layout.neurons(shape)
    inner = prod(neurons[layout.place(1) + 1 :])
    wiring = Scale(prod(neurons), prod(neurons), inner=inner, size=shape[1])
    return op.affine(wiring, scale, shift, role="scale", function="batch_norm", layout=layout)


def of_instances(op: Op) -> Placed | None:
    """Return the norm of channels by their own statistics, None if examples share them.

    So torch spells an instance norm: as a batch of one, with the examples among the channels.
    """
    source = op.only()
    shape, layout = op.shape(source), op.layout(source)
    if op.batch > 1 and (layout.axis != 1 or layout.outer > 1 or layout.order is not None):
        return None
    rows, size = shape[1] // op.batch, prod(shape[2:])

    def by_channel(name: str) -> Tensor | None:
        if op[name] is None:
            return None
        values = op.tensor(op[name]).reshape(op.batch, rows)
        if not bool((values == values[:1]).all()):
            op.missing("its channels are scaled otherwise in each example")
        return values[0].repeat_interleave(size).reshape(rows, size)

    epsilon = op["epsilon"] if op["eps"] is None else op["eps"]
    return normed(op, layout, (rows, size), by_channel("weight"), by_channel("bias"), eps=epsilon, centred=True)
