"""The rank of a tensor: what kind of step it went through last. Of two factors, the one of the higher rank is the gate.

3 softmax; 2 sigmoid, hard sigmoid, a denominator; 1 any other nonlinearity; 0 linear maps, sums of two traced tensors,
norms, poolings, products, sources. Index maps, scaling by constants, adding constants, dropout and casts keep it.
"""

from __future__ import annotations

from collections.abc import Mapping

from provnet.circuit.blocks import Block

SOFTMAX, SIGMOID, NONLINEAR, LINEAR = 3, 2, 1, 0

KEEPING = frozenset(
    {
        *("alias", "clone", "contiguous", "detach", "lift", "lift_fresh", "_to_copy", "to", "positive", "identity"),
        *("dropout", "feature_dropout", "native_dropout", "fake_quantize_per_tensor_affine"),
        *("mul", "div", "true_divide", "neg"),
    }
)
"""Unit edges that scale by a constant, or copy."""

SIGMOIDS = frozenset(["sigmoid", "hardsigmoid", "special_expit", "reciprocal", "divisor"])


def rank_of(block: Block, known: Mapping[int, int]) -> int:
    """Return the rank of a block's output, given those of its inputs."""
    before = max((known.get(i, LINEAR) for i in block.inputs), default=LINEAR)
    if block.convention == "softmax" or block.role == "softmax":  # as recorded, or in the form that was chosen
        return SOFTMAX
    if block.function in ("batch_norm", "norm"):
        return LINEAR
    if block.kind == "index" or block.role == "scale":
        return before
    if block.kind != "elementwise":
        return LINEAR
    if block.function in KEEPING:
        return before
    return SIGMOID if block.function in SIGMOIDS else NONLINEAR
