"""Operands that broadcast: where the result holds its examples, and each operand's shape against one example of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from provnet.capture.execution import Ref
from provnet.rules.ops.base import Op
from provnet.rules.ops.example_layout import Layout, Shape, one_example


def result_layout(op: Op, inputs: Sequence[int]) -> Layout:
    """Return the layout of a broadcast result. Operands that hold their examples elsewhere are refused.

    In a batch of one nothing can cross; there the operands may differ and any axis that fits is taken.
    """
    shape = op.shape(op.output)
    found = []
    for i in inputs:
        layout = op.layout(i)
        found.append(replace(layout, axis=layout.axis + len(shape) - len(op.shape(i))))
    if len(set(found)) == 1 and found[0].fits(shape, op.batch):
        return found[0]
    if op.batch == 1:
        return next((layout for layout in found if layout.fits(shape, 1)), one_example(shape))
    op.crosses(f"its operands hold the examples on different axes of the result {list(shape)}")


def against(op: Op, value: Ref | int, layout: Layout) -> Shape:
    """Return an operand's shape, without examples, as it is broadcast against one example of the result."""
    shape, result = op.shape(value), op.shape(op.output)
    if not result:
        return ()
    aligned = (1,) * (len(result) - len(shape)) + shape
    if aligned[layout.axis] == 1:  # nothing but a repeated entry: or the whole axis, in a batch of one
        merged = (1,) * len(layout.merged)
    else:
        merged = layout.merged
    return (*aligned[: layout.axis], *merged, *aligned[layout.axis + 1 :])


def spread(op: Op, value: int, layout: Layout) -> np.ndarray:
    """Return, for every neuron of the result, the operand's neuron that is broadcast to it."""
    shape = against(op, value, layout)
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    return np.broadcast_to(numbers, layout.neurons(op.shape(op.output))).reshape(-1)
