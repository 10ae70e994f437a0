"""A function that takes several recorded ops, as one op: what `provnet.rules.regions` puts in their place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from provnet.capture.execution import Ref, TracedOp
from provnet.circuit.blocks import Call, Earlier, Input
from provnet.rules.ops.arguments import references, substitute
from provnet.rules.ops.base import Op, Placed, op_rule

SPREADING = "aten.expand"
"""Repeats entries to a size of the recording. What reads the result repeats them all the same."""


@dataclass(frozen=True, eq=False)
class WrittenOut:
    """A function of one tensor that takes several ops, as one op: f(x, *constants).

    steps   the recorded ops in the order of execution; the last one makes the result.
    reads   the values that `steps` read from outside: x first.
    """

    steps: tuple[TracedOp, ...]
    reads: tuple[int, ...]

    def __call__(self, *given: Any) -> Any:
        """Run the steps on other tensors, in the order of `reads`."""
        values, made = dict(zip(self.reads, given, strict=True)), None

        def value(ref: Ref) -> Any:
            return values[ref.id]

        for step in self.steps:
            args, kwargs = substitute((step.args, dict(step.kwargs)), value)
            made = step.func(*args, **kwargs)
            results = made if isinstance(made, list | tuple) else (made,)
            values.update({v: one for v, one in zip(step.outputs, results, strict=False) if v is not None})
        return made


@op_rule("provnet.function")
def function(op: Op) -> Placed:
    """y_j = f(x_j), written as several ops whose last is a product: x·σ(1.702 x). A unit edge for each entry."""
    placed = op.unit_edges()
    return replace(placed, block=replace(placed.block, call=call_of(op)))


def call_of(op: Op) -> Call | None:
    """Return how to run a `WrittenOut` again, None if one of its steps is no ATen op with plain arguments."""
    calls: list[Call] = []
    earlier: dict[int, Input | Earlier] = {}
    made = (value for step in op.traced.func.steps for value in step.outputs if value is not None)
    inside = replace(op, layouts={**op.layouts, **dict.fromkeys(made, op.layout(op.inputs[0]))})
    for step in op.traced.func.steps:
        if step.name == SPREADING:
            (of,) = references(step.args)
            earlier[step.outputs[0]] = earlier.get(of.id, Input())
            continue
        call = replace(inside, traced=step).call(earlier)
        if call is None:
            return None
        earlier |= {value: Earlier(len(calls), n) for n, value in enumerate(step.outputs) if value is not None}
        calls.append(call)
    return replace(calls[-1], before=tuple(calls[:-1]))
