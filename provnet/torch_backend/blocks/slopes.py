"""Derivatives of unit edges: what a step computes, run again, element by element."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, Call, Earlier, Input
from provnet.errors import UnsupportedOperationError


def slopes(block: Block, source: Tensor, output: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ∂y_k / ∂a_j on every unit edge j -> k of an elementwise block, in the output's shape.

    By automatic differentiation of the op, so kinks are taken as torch takes them (relu'(0) = 0). Global gradient mode
    is left as it is; where it is on and the source requires a gradient, slopes carry a graph themselves.
    Raises: `UnsupportedOperationError` if the circuit does not know how to run the op.
    """
    if block.call is None:
        raise UnsupportedOperationError(
            f"the unit edges of {block.path!r} ({block.op}) have no derivative: the circuit does not know how to run "
            "that op. Take another rule there with Composite, or keep its module as opaque='jacobian'."
        )
    graph = torch.is_grad_enabled() and output.requires_grad
    with torch.inference_mode(False), torch.enable_grad():
        # An input that is broadcast is spread first: each of its edges has a derivative of its own.
        leaf = source.to(dtype).expand(output.shape).clone()
        leaf = leaf if graph and leaf.requires_grad else leaf.detach().requires_grad_()
        result = run_call(block.call, leaf)
        if not result.requires_grad:  # a step without slope: detach, comparison
            return torch.zeros_like(leaf).detach()
        try:
            (found,) = torch.autograd.grad(result.sum(), leaf, create_graph=graph)
        except RuntimeError as error:  # torch has a name for the derivative, and no formula
            if "is not implemented" not in str(error):
                raise
            raise UnsupportedOperationError(
                f"the unit edges of {block.path!r} ({block.op}) have no derivative in torch: {error}. Ask a rule that "
                "passes relevance on as it is, such as rule='zero'."
            ) from error
    return found if graph else found.detach()


def run_call(call: Call, leaf: Tensor) -> Tensor:
    """Return what a function gives for `leaf`, in whose dtype and on whose device it is computed: its first result."""
    earlier: list[tuple[Tensor, ...]] = []
    for step in (*call.before, call):
        args = [_given(value, leaf, earlier) for value in step.args]
        named = {name: _given(value, leaf, earlier) for name, value in step.kwargs.items()}
        made = getattr(getattr(torch.ops.aten, step.op.removeprefix("aten.")), step.overload)(*args, **named)
        earlier.append(tuple(made) if isinstance(made, tuple | list) else (made,))
    return earlier[-1][0]


def _given(value: Any, leaf: Tensor, earlier: list[tuple[Tensor, ...]]) -> Any:
    if isinstance(value, Input):
        return leaf
    if isinstance(value, Earlier):
        return earlier[value.number][value.result]
    if not isinstance(value, Tensor):
        return value
    return value.to(leaf.device, leaf.dtype if value.is_floating_point() else value.dtype)
