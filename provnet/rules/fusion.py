"""What is joined with the linear map right before it: a batch normalisation in evaluation, and a bias that is added.

torch computes a linear layer as one op, or as a product and a sum where its input is not contiguous: a dense layer must
not depend on how its input lies in memory, nor on whether it is written as a module or by hand.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from provnet.capture.execution import Ref
from provnet.circuit.blocks import Operand
from provnet.circuit.deferred import Deferred
from provnet.circuit.weights import Stored
from provnet.rules.ops.base import Op, Placed
from provnet.rules.ops.normalisation import scale_and_shift


class Scaled(Deferred):
    """A weight whose rows are scaled, made only where a question needs the product itself: sums of products with plain
    weights do with the two factors, and a residual net's fused weights are as large as the net.

    base   [rows, …], the model's own. scale   [rows].
    """

    def __init__(self, base: Tensor, scale: Tensor) -> None:
        super().__init__(_scaled, base, scale)
        self.base, self.scale = base, scale


def stored(operand: Operand) -> Tensor:
    """Return the tensor of an operand's weights. Raises: `TypeError` where it stores none."""
    held = operand.weight.stored
    if held is None:
        raise TypeError(f"weights of the kind {type(operand.weight).__name__} are not stored")
    return held.values


def _scaled(base: Tensor, scale: Tensor) -> Tensor:
    return base * scale.reshape(-1, *(1,) * (base.dim() - 1))


def can_fuse(linear: Placed, norm: Op) -> bool:
    """Return whether the block is a linear map whose output channels are those that `norm` scales."""
    block, rank = linear.block, len(norm.shape(linear.block.output))
    if block.role != "linear" or block.shared_weight is None or block.bias_by_example:
        return False
    if norm["running_mean"] is None:  # an instance norm computes its own statistics
        return False
    axis = block.wiring.channel_axis
    second = axis is not None and rank > 1 and axis % (rank - 1) == 0  # as batch norms have it
    return second and linear.layout.axis == 0


def fuse(linear: Placed, norm: Op) -> Placed:
    """Return one affine block: weights w * s and bias b * s + t, in the model's dtype, for z = s * (w·a + b) + t."""
    block = linear.block
    scale, shift = scale_and_shift(norm)
    (operand,) = block.operands
    held = stored(operand)
    frames = held.shape[0] // len(scale)  # frames merged into the batch have a copy of the weight each
    scale, shift = scale.repeat(frames), shift.repeat(frames)
    weight = Stored(Scaled(held, scale))
    bias = shift if block.bias is None else block.bias * scale + shift
    module = f"{block.module}+{norm.traced.module}"
    operands = (replace(operand, weight=weight),)
    classes = (*block.classes, norm.traced.classes)
    return Placed(
        replace(block, operands=operands, output=norm.output, bias=bias, module=module, classes=classes), linear.layout
    )


VIEWS = ("aten.view", "aten._unsafe_view")
"""What may stand between a product and the bias that is added to it."""


def can_bias(linear: Placed, add: Op) -> bool:
    """Return whether `add` adds one number a feature to a dense map without a bias."""
    block, (first, second) = linear.block, (add["self"], add["other"])
    constant = second if add.active(first) else first
    if block.wiring.channel_axis != -1 or block.role != "linear" or block.bias is not None:
        return False
    if add["alpha"] != 1 or len(add.inputs) != 1 or not isinstance(constant, Ref):
        return False
    shape, layout = add.shape(add.output), add.layout(add.inputs[0])
    features = block.wiring.channels
    alike = add.shape(add.inputs[0]) == shape and layout.axis < len(shape) - 1
    return alike and add.shape(constant) == (features,) and shape[-1] == features


def add_bias(linear: Placed, add: Op) -> Placed:
    """Return one dense block, z = w·a + b, whose output is the sum's."""
    constant = add["other"] if add.active(add["self"]) else add["self"]
    block = replace(linear.block, output=add.output, bias=add.tensor(constant))
    return Placed(block, add.layout(add.inputs[0]))
