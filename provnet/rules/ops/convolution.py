"""Convolutions over one, two or three spatial axes."""

from __future__ import annotations

from provnet.circuit.transposed import transposed_convolution
from provnet.circuit.windowed import convolution
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.linear import flat_weight


@op_rule("aten.convolution", "aten.mkldnn_convolution", "aten.cudnn_convolution", "aten.miopen_convolution")
def convolve(op: Op) -> Placed:
    """z[c, y, x] = sum over the group's channels and the kernel of a * w + b[c]; any stride, padding, dilation, groups.

    Padding places are absent. Frames merged into the batch ([B*T, C, H, W]) are groups of one convolution, with a copy
    of the weight each. A transposed one spreads each input over a window.
    Raises: `CrossExampleError` if the examples lie on a channel or spatial axis.
    """
    x = op["input"] or op["self"]
    if not op.active(x) or op.active(op["weight"]) or (op["bias"] is not None and op.active(op["bias"])):
        op.missing("its weight or bias depends on a source")
    layout, shape, weight = op.layout(x), op.shape(x), op.tensor(op["weight"])
    if layout.axis != 0:
        op.crosses(f"it sums over axis {layout.axis} of its input, which holds the examples")
    space, groups = weight.dim() - 2, op["groups"]
    frames = layout.rows
    if op["transposed"]:  # [inputs' channels, a group's outputs, *kernel] as a convolution's
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    make = transposed_convolution if op["transposed"] else convolution
    wiring = make(
        frames * shape[1],
        frames * weight.shape[0],
        frames * groups,
        shape[2:],
        op.shape(op.output)[2:],
        tuple(weight.shape[2:]),
        per_axis(op["stride"], space),
        per_axis(op["padding"], space),
        per_axis(op["dilation"], space),
    )
    bias = None if op["bias"] is None else flat_weight(op.tensor(op["bias"]), frames)
    return op.affine(wiring, flat_weight(weight, frames), bias, layout=layout)


def per_axis(value: int | list[int], axes: int) -> tuple[int, ...]:
    """Return one number for each spatial axis, where one may stand for all."""
    found = (value,) if isinstance(value, int) else tuple(value)
    return found * axes if len(found) == 1 else found
