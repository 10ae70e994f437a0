"""Modules and ops that are kept whole: identity, uniform, jacobian, or what the caller's own function says.

The same forms serve `trace(opaque={...})` and `op_rule(name, form=...)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from provnet.circuit.wiring import dense
from provnet.errors import LimitError, OptionError, TraceError
from provnet.rules.ops.base import FORMS, WHOLE_NUMBERS, Op, Placed
from provnet.rules.ops.declared import is_elementwise
from provnet.rules.ops.example_layout import Layout, layouts
from provnet.rules.ops.index_maps import index_map

LIMIT = 1 << 26
"""Entries of a Jacobian, all examples together: 256 MB of float32."""


def result_layouts(op: Op) -> list[tuple[int, Layout]]:
    """Return (result, layout) for the results that are activations, which should hold the examples as the inputs do.

    Nothing is known of the op, so the shapes decide: the first input's layout if it fits, else any axis of the batch's
    size.
    """
    found = []
    for output in op.traced.outputs:
        if output is None or not op.execution.values[output].active:
            continue
        shape = op.shape(output)
        fitting = [one for one in (op.layout(op.inputs[0]), *layouts(shape, op.batch)) if one.fits(shape, op.batch)]
        if not fitting:
            op.crosses(f"no axis of its result {list(shape)} can hold the {op.batch} examples")
        found.append((output, fitting[0]))
    return found


@FORMS.register("identity")
def identity(op: Op) -> list[Placed]:
    """Unit edges from the only active input to each result, which must have its shape.

    An op that is no step of single entries (a softmax, said to pass relevance on) has no derivative on such edges.
    """
    placed = [op.unit_edges(function=op.short, output=output) for output, _ in result_layouts(op)]
    if all(one.block.call is None for one in placed) or is_elementwise(op):
        return placed
    return [replace(one, block=replace(one.block, call=None)) for one in placed]


@FORMS.register("uniform")
def uniform(op: Op) -> list[Placed]:
    """Every output is fed by every input alike: p_jk = a_j with all weights one, so rule zero gives a_j / sum of a.

    Only the shapes of the results matter: the denominator is the sum of a, not the result. It says that all may depend
    on all, and no more.
    """
    size = sum(map(op.size, op.inputs))
    placed = [
        op.affine(dense(1, size, op.size(output, layout)), role="sum", layout=layout, output=output)
        for output, layout in result_layouts(op)
    ]
    return [replace(one, block=replace(one.block, output_is_sum=False)) for one in placed]


@FORMS.register("jacobian")
def jacobian(op: Op) -> list[Placed]:
    """The op's first-order expansion: p = J·a for each example, and the bias f(a) − J·a.

    J is taken by automatic differentiation through a replay of the op, one backward pass an output neuron. A result
    without a gradient (statistics that a norm hands out) gets no block, as long as another has one.
    Raises: `LimitError` if J has more than `LIMIT` entries, with the number; `TraceError` if there is no J, if it is
    not finite, or if the replay differs. Memory: batch * outputs * inputs.
    """
    inputs = tuple(dict.fromkeys(op.inputs))
    if any(op.tensor(i).requires_grad for i in inputs):
        raise OptionError(
            f"{op} is kept whole as its Jacobian, which has no derivative of its own. Trace without "
            "differentiable=True, or keep it as 'identity' or 'uniform'."
        )
    if any(not op.tensor(i).is_floating_point() for i in inputs):
        raise TraceError(f"{op} has no Jacobian. {WHOLE_NUMBERS}")
    results = result_layouts(op)
    for output, _ in results:
        _refuse_large(op, inputs, output)
    with torch.inference_mode(False), torch.enable_grad():
        leaves = {i: op.tensor(i).detach().clone().requires_grad_() for i in inputs}
        replayed = op.replay(lambda ref: leaves[ref.id] if ref.id in leaves else op.tensor(ref))
        placed = []
        for output, layout in results:
            value = replayed[op.traced.outputs.index(output)]
            if isinstance(value, Tensor) and value.requires_grad:
                _refuse_other(op, value.detach(), op.tensor(output))
                placed.append(_expansion(op, leaves, output, value, layout))
    if not placed:
        raise TraceError(f"{op} cannot be differentiated: no result has a gradient. Use opaque='uniform' for it.")
    return placed


def _expansion(op: Op, leaves: dict[int, Tensor], output: int, value: Tensor, layout: Layout) -> Placed:
    """Return the affine block of J and f(a) − J·a for one result. Examples are independent, so one pass serves them
    all.
    """

    def row(neuron: Tensor) -> Tensor:
        parts = torch.autograd.grad(neuron, list(leaves.values()), retain_graph=True, allow_unused=True)
        given = {i: torch.zeros_like(leaves[i]) if g is None else g for i, g in zip(leaves, parts, strict=True)}
        return torch.cat([op.layout(i).by_example(g, op.batch).reshape(op.batch, -1) for i, g in given.items()], dim=1)

    found = layout.by_example(value, op.batch).reshape(op.batch, -1)
    weight = torch.stack([row(neuron) for neuron in found.sum(0)], dim=1).detach()
    if not bool(torch.isfinite(weight).all()):
        raise TraceError(f"{op} has a Jacobian with NaN or Inf. Use opaque='uniform' for it, or trace into the module.")
    rows = torch.cat([op.by_example(i).reshape(op.batch, -1) for i in leaves], dim=1)
    bias = found.detach() - torch.einsum("bki,bi->bk", weight, rows.to(weight.dtype))
    return op.affine(
        dense(1, weight.shape[2], weight.shape[1]),
        weight,
        bias,
        inputs=tuple(leaves),
        output=output,
        layout=layout,
        weight_by_example=True,
        bias_by_example=True,
    )


def _refuse_large(op: Op, inputs: Sequence[int], output: int) -> None:
    size, count = (sum(op.tensor(i).numel() for i in some) // op.batch for some in (inputs, (output,)))
    if op.batch * count * size > LIMIT:
        raise LimitError(
            f"{op}: its Jacobian has {op.batch} x {count} x {size} = {op.batch * count * size:,} entries, more than "
            f"{LIMIT:,}. Use opaque='uniform' for it, a smaller batch, or trace into the module."
        )


def _refuse_other(op: Op, result: Tensor, recorded: Tensor) -> None:
    if result.shape != recorded.shape or not torch.allclose(result, recorded, rtol=1e-3, atol=1e-5):
        raise TraceError(
            f"{op} gives another result when it is run again, so it has no Jacobian: does it draw random numbers or "
            "keep a state? Use opaque='uniform' for it."
        )


FORMS.register("index")(index_map)
