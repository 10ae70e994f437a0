"""Run a recorded execution on another batch, of any number of examples.

Ops are recorded with the sizes that they were called with, and some of these count examples: the shape of a view, a
tensor of zeros that a recurrent layer starts from. Where each value holds its examples is known, so the sizes follow;
whatever does not fit in the end is refused, for nothing may be broadcast in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from provnet.capture.execution import Execution, TracedOp, Value
from provnet.capture.replay import results_of
from provnet.capture.unseen import Unseen
from provnet.errors import ReplayError

Shapes = Mapping[int, tuple[int, ...]]
"""Value id -> the shape that it has in a batch of some size, for all that are known to hold examples."""

_SIZED = frozenset(["aten.view", "aten._unsafe_view", "aten.reshape", "aten.expand"])
"""Ops whose second argument is the shape of their result."""


def for_batch(execution: Execution, batch: int, shapes: Shapes) -> Execution:
    """Return an execution without values (`provnet.capture.unseen`) as it would be with `batch` examples.

    A constant that has the same entries for every example, such as a first state of zeros, has a row for each of them.
    """
    if batch == execution.batch:
        return execution
    values = {n: _resized(value, shapes.get(n), execution.batch, batch) for n, value in execution.values.items()}
    ops = tuple(_told(op, shapes) for op in execution.ops)
    return replace(execution, values=values, ops=ops, batch=batch)


def _resized(value: Value, shape: tuple[int, ...] | None, before: int, after: int) -> Value:
    if shape is not None:
        meta = torch.empty(shape, dtype=value.tensor.dtype, device="meta")
        return replace(value, tensor=Unseen.on(meta, value.tensor.device))
    if value.kind == "constant":
        return replace(value, tensor=_for_examples(value.tensor, before, after))
    return value


def _for_examples(constant: Tensor, before: int, after: int) -> Tensor:
    axes = [axis for axis, size in enumerate(constant.shape) if size == before]
    if before == 1 or len(axes) != 1:
        return constant
    first = constant.narrow(axes[0], 0, 1)
    if not torch.equal(constant, first.expand_as(constant)):
        return constant
    return first.expand([after if axis == axes[0] else size for axis, size in enumerate(constant.shape)]).contiguous()


def _told(op: TracedOp, shapes: Shapes) -> TracedOp:
    """Return an op that is told the shape of its result with that shape for this number of examples."""
    number = op.outputs[0]
    if op.name not in _SIZED or number is None or number not in shapes:
        return op
    return replace(op, args=(op.args[0], list(shapes[number]), *op.args[2:]))


def values_on(execution: Execution, inputs: Mapping[str, Tensor], shapes: Shapes, recorded: int) -> dict[int, Tensor]:
    """Return value id -> tensor for sources and computed values, computed by the recorded ops from other sources.

    execution   for this number of examples (`for_batch`); its constants are read, and no activation.
    inputs      one tensor for each source, by name.
    shapes      the shapes that values must have.   recorded   the number of examples that were recorded.
    Raises: `ReplayError` if an op does not run on so many examples, or gives a result of another shape.
    """
    values = {number: inputs[name] for name, number in execution.sources.items()}

    def tensor(number: int) -> Tensor:
        return values[number] if number in values else execution.values[number].tensor

    with torch.no_grad():
        for op in execution.ops:
            try:
                results = results_of(op, tensor)
            except (RuntimeError, IndexError) as error:
                raise _refusal(op, execution, recorded, f"it failed with {type(error).__name__}: {error}") from error
            for number, result in zip(op.outputs, results, strict=True):
                if number is None:
                    continue
                expected = shapes.get(number)
                if expected is not None and tuple(result.shape) != expected:
                    why = f"it gave the shape {list(result.shape)}, not {list(expected)}"
                    raise _refusal(op, execution, recorded, why)
                # x += y keeps the dtype of x, where x + y would not.
                values[number] = result.to(execution.values[number].tensor.dtype)
    return values


def _refusal(op: TracedOp, execution: Execution, recorded: int, why: str) -> ReplayError:
    return ReplayError(
        f"{op.label!r} ({op.name}) was recorded with {recorded} examples and cannot be run on {execution.batch}: "
        f"{why}. Trace the new batch with provnet.trace, or pass {recorded} examples."
    )
