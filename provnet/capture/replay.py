"""Run a recorded execution again, from its ops alone: with other inputs, or with NaN to see where it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from provnet.capture.execution import Execution, Ref, TracedOp
from provnet.errors import CrossExampleError, InputError, OptionError

# A replayed tensor may lie in memory otherwise than the recorded one, so that no view of it exists.
_REPLAYED_AS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.view.default: torch.reshape,
    torch.ops.aten._unsafe_view.default: torch.reshape,
}


def replay(execution: Execution, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return output name -> tensor, computed by the recorded ops from other sources of the same shapes.

    `inputs` is the tensor for the only source, or a mapping by source name. What depended on the recorded input by
    other ways than values (control flow, comparisons, indices computed from values) stays as it was recorded.
    Raises: `InputError` for a source that is missing or has another shape.
    """
    values = replay_values(execution, inputs)
    return {name: values[value] for name, value in execution.outputs.items()}


def replay_values(execution: Execution, inputs: Tensor | Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Return value id -> tensor for all sources and computed values; see `replay`."""
    if isinstance(inputs, Tensor):
        if len(execution.sources) != 1:
            raise InputError(f"the execution has the sources {', '.join(execution.sources)}: pass a mapping by name.")
        inputs = dict.fromkeys(execution.sources, inputs)
    values: dict[int, Tensor] = {}
    for name, value in execution.sources.items():
        recorded = execution.values[value].tensor
        if name not in inputs or inputs[name].shape != recorded.shape:
            came = tuple(inputs[name].shape) if name in inputs else "nothing"
            raise InputError(f"the source {name!r} had shape {tuple(recorded.shape)}, but {came} came. Trace it anew.")
        values[value] = inputs[name].detach()
    with torch.no_grad():
        run_ops(execution, values)
    return values


def run_ops(execution: Execution, values: dict[int, Tensor]) -> None:
    """Compute all other values from the given ones, which are taken in place of the recorded ones. In the caller's
    gradient mode."""
    for op in execution.ops:
        _run(execution, op, values)


def _run(execution: Execution, op: TracedOp, values: dict[int, Tensor]) -> None:
    results = results_of(op, lambda value: values[value] if value in values else execution.values[value].tensor)
    for value, result in zip(op.outputs, results, strict=True):
        if value is not None:
            # x += y keeps the dtype of x, where x + y would not.
            values[value] = result.to(execution.values[value].tensor.dtype)


def results_of(op: TracedOp, tensor: Callable[[int], Tensor]) -> Sequence[Any]:
    """Run one op, `tensor` giving the value behind each reference, and return its results: one for each output."""
    return run_call(op.func, op.args, op.kwargs, tensor)


def run_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], tensor: Callable[[int], Tensor]
) -> Sequence[Any]:
    """Run a function on arguments that hold references, and return its results: one for each output."""

    def resolve(tree: Any) -> Any:
        if isinstance(tree, Ref):
            return tensor(tree.id)
        if isinstance(tree, tuple | list):
            parts = [resolve(part) for part in tree]
            return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
        if isinstance(tree, Mapping):
            return {key: resolve(part) for key, part in tree.items()}
        return tree

    function = _REPLAYED_AS.get(function, function)
    results = function(*resolve(args), **resolve(kwargs))
    return results if isinstance(results, tuple | list) else (results,)


def check_examples(execution: Execution) -> None:
    """Raise `CrossExampleError`, naming the op, if an example's output depends on another example.

    Replays with NaN in half of the examples, chosen by one bit of their index: 2 * ceil(log2 batch) times, so that each
    pair of examples is parted once in each direction. An op that swallows NaN hides what it mixes.
    Raises: `OptionError` if a source holds integers, which have no NaN.
    """
    if not all(execution.values[i].tensor.is_floating_point() for i in execution.sources.values()):
        raise OptionError("check_batch=True needs floating sources: integers cannot carry the NaN that it looks for.")
    for bit in range((execution.batch - 1).bit_length()):
        for side in (0, 1):
            marked = (torch.arange(execution.batch) >> bit & 1) == side
            _check_half(execution, marked)


def _check_half(execution: Execution, marked: Tensor) -> None:
    dim = execution.batch_dim
    inputs = {}
    for name, value in execution.sources.items():
        inputs[name] = execution.values[value].tensor.clone()
        inputs[name].movedim(dim, 0)[marked.to(inputs[name].device)] = float("nan")
    values = replay_values(execution, inputs)
    for name, value in execution.outputs.items():
        if _reaches_others(values[value], marked, dim):
            ops = (op for op in execution.ops if any(_mixes(execution, values, v, marked) for v in op.outputs))
            first = next(ops, None)
            where = "" if first is None else f" First seen at {first.label!r} ({first.name})."
            raise CrossExampleError(
                f"an example's {name!r} depends on other examples of the batch.{where} Trace one example at a time, or "
                "say which axis carries examples: batch_dim=."
            )


def _mixes(execution: Execution, values: Mapping[int, Tensor], value: int | None, marked: Tensor) -> bool:
    if value is None or not execution.values[value].active:
        return False
    tensor = values[value]
    has_axis = tensor.dim() > execution.batch_dim and tensor.shape[execution.batch_dim] == len(marked)
    return has_axis and _reaches_others(tensor, marked, execution.batch_dim)


def _reaches_others(tensor: Tensor, marked: Tensor, dim: int) -> bool:
    if tensor.dim() <= dim or tensor.shape[dim] != len(marked):
        return bool(torch.isnan(tensor).any())
    return bool(torch.isnan(tensor.movedim(dim, 0)[~marked.to(tensor.device)]).any())
