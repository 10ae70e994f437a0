"""A batch normalisation in evaluation, joined with the linear map right before it."""

from __future__ import annotations

from dataclasses import replace

from provnet.circuit.wiring import Convolution, Dense
from provnet.rules.ops.base import Op, Placed
from provnet.rules.ops.normalisation import scale_and_shift


def can_fuse(linear: Placed, norm: Op) -> bool:
    """Tell whether the block is a linear map whose output channels are those that `norm` scales."""
    block, rank = linear.block, len(norm.shape(linear.block.output))
    if block.role != "linear" or block.weight is None or block.weight_by_example or block.bias_by_example:
        return False
    if isinstance(block.wiring, Dense):
        return rank == 2 and linear.layout.axis == 0
    return isinstance(block.wiring, Convolution) and rank > 2 and linear.layout.axis == 0


def fuse(linear: Placed, norm: Op) -> Placed:
    """Return one affine block: weights w * s and bias b * s + t, in the model's dtype, for z = s * (w·a + b) + t."""
    block = linear.block
    scale, shift = scale_and_shift(norm)
    frames = block.weight.shape[0] // len(scale)  # frames merged into the batch have a copy of the weight each
    scale, shift = scale.repeat(frames), shift.repeat(frames)
    weight = block.weight * scale.reshape(-1, *(1,) * (block.weight.dim() - 1))
    bias = shift if block.bias is None else block.bias * scale + shift
    module = f"{block.module}+{norm.traced.module}"
    return Placed(replace(block, output=norm.output, weight=weight, bias=bias, module=module), linear.layout)
