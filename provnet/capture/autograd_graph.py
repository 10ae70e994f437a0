"""An execution whose tensors carry autograd's graph, so that what is computed from them can be differentiated.

The recorder sees ops below autograd, so recorded tensors have no graph. The recorded ops are run again, above it, from
the caller's own tensors; then values and gradients are held against those of the run that was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from provnet.capture.execution import Execution, Value
from provnet.capture.replay import run_ops
from provnet.errors import TraceError

ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3}
"""How far a replayed tensor may be from the recorded one, as a share of its largest entry. Half precision: 5e-2."""


def replay_with_graph(execution: Execution) -> Execution:
    """Return the same execution with tensors that autograd can differentiate, computed by the recorded ops.

    It starts at `Value.live` where there is one: sources, parameters, constants made from them. Gradient mode must be
    on. Raises: `TraceError` if such a tensor was written over while the model ran, or if a value comes out otherwise
    (an op that draws random numbers). Memory: what autograd keeps of one forward pass.
    """
    values: dict[int, Tensor] = {}
    for number, value in execution.values.items():
        if value.live is not None:
            values[number] = _start(value)
    for source in execution.sources.values():
        values.setdefault(source, execution.values[source].tensor)
    run_ops(execution, values)
    for op in execution.ops:
        for number in op.outputs:
            recorded = None if number is None else execution.values[number].tensor
            if number is not None and recorded is not None and not alike(values[number].detach(), recorded):
                raise TraceError(
                    f"{op.label!r} ({op.name}) gave other numbers when it was run again, so no gradient can be had of "
                    "it: it draws random numbers, or keeps a state. Trace without differentiable=True."
                )
    kept = {number: replace(v, tensor=values.get(number, v.tensor)) for number, v in execution.values.items()}
    return replace(execution, values=kept)


def with_live_views(execution: Execution, parameters: Mapping[str, Tensor]) -> Execution:
    """Return the same execution in which views of parameters, made where fused ops were taken apart, are live too."""

    def live(value: Value) -> Value:
        parameter = parameters.get(value.name or "") if value.kind == "parameter" and value.live is None else None
        if parameter is None or not parameter.requires_grad or value.version is None:
            return value
        tensor = value.tensor
        return replace(value, live=parameter.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()))

    return replace(execution, values={number: live(value) for number, value in execution.values.items()})


def _start(value: Value) -> Tensor:
    assert value.live is not None
    if value.kind != "source" and value.owner is None:
        raise TraceError(
            f"{value.name or 'a tensor'} of shape {list(value.tensor.shape)}, which requires a gradient, was written "
            "in place while the model ran, so its gradient cannot be followed. Write to a copy, or trace without "
            "differentiable=True."
        )
    return value.live


def check_gradients(execution: Execution, outputs: Mapping[str, Tensor]) -> None:
    """Hold the gradients of an execution's outputs against those of the outputs that the model itself returned.

    They differ where the model cuts gradients (detach, no_grad) or has some of its own (an autograd.Function): a replay
    knows nothing of that. Raises: `TraceError`, also where the model has no gradients. Time: two backward passes.
    """
    ours = [execution.values[number].tensor for number in execution.outputs.values()]
    theirs = [outputs[name] for name in execution.outputs]
    leaves = list({id(leaf): leaf for leaf in (*_leaves(ours), *_leaves(theirs))}.values())
    try:
        pairs = list(zip(leaves, _gradients(ours, leaves), _gradients(theirs, leaves), strict=True))
    except RuntimeError as error:
        raise TraceError(
            f"autograd found no gradient of the model: {error}. output.sum().backward() by itself shows the same "
            "error; or trace without differentiable=True."
        ) from error
    for leaf, one, other in pairs:
        if not alike(one, other):
            raise TraceError(
                f"the gradient with respect to a tensor of shape {list(leaf.shape)} is not the model's own. The model "
                "cuts gradients on the way (detach, no_grad, .data), or has an autograd.Function of its own, and "
                "relevance is differentiated through the recorded ops. Trace without differentiable=True, or without "
                "these."
            )


def _leaves(outputs: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the tensors that autograd would give a gradient: the caller's, wherever the model took them from."""
    waiting: list[Any] = [output.grad_fn for output in outputs if output.grad_fn is not None]
    yield from (output for output in outputs if output.grad_fn is None and output.requires_grad)
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            yield node.variable
        fresh = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= fresh
        waiting.extend(fresh)


def _gradients(outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of a fixed weighted sum of the outputs."""
    generator = torch.Generator().manual_seed(0)  # the caller's random numbers are not touched
    total = torch.zeros((), dtype=torch.float64, device=outputs[0].device)
    for output in outputs:
        weights = torch.rand(output.shape, generator=generator, dtype=torch.float64)
        total = total + (output.double() * weights.to(output.device)).sum().to(total.device)
    if not total.requires_grad or not leaves:
        return [torch.zeros_like(leaf) for leaf in leaves]
    # Both graphs share what made the constants, and the caller still needs one of them.
    found = torch.autograd.grad(total, list(leaves), retain_graph=True, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]


def alike(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors of one shape agree up to `ROUNDING`."""
    if not one.is_floating_point():
        return torch.equal(one, other)
    size = other.abs().nan_to_num(posinf=0.0).amax() if other.numel() else torch.zeros(())
    tolerance = ROUNDING.get(other.dtype, 5e-2) * float(size)
    return bool(torch.isclose(one, other, rtol=0, atol=tolerance, equal_nan=True).all())
