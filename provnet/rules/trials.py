"""Recorded ops run again on numbers of our own, in double precision: what they compute is told by what they give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from provnet.capture.execution import Execution, Ref, TracedOp
from provnet.rules.ops.arguments import references, substitute
from provnet.rules.ops.example_layout import Shape
from provnet.rules.ops.written_out import SPREADING

Ops = tuple[TracedOp, ...]
"""Ops between one tensor and one result, in the order of execution."""


class Trial:
    """Runs ops of one execution on other numbers."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution

    def shape(self, value: Ref | int) -> Shape:
        return tuple(self.execution.tensor(value).shape)

    def constants(self, ops: Ops) -> list[Ref]:
        """Return what the ops read that depends on no source, each once."""
        read = (ref for op in ops for ref in references((op.args, op.kwargs)))
        return list(dict.fromkeys(ref for ref in read if not self.execution.active(ref)))

    def learned(self, ref: Ref) -> bool:
        """Return whether a constant is one that training changes: it is no fixed number of a function."""
        value = self.execution.values[ref.id]
        return value.kind == "parameter" or (value.owner is not None and value.owner.requires_grad)

    def double(self, arguments: Any, values: Mapping[int, Tensor]) -> Any:
        """Return arguments with tensors in double precision: those in `values`, else the recorded constants."""

        def tensor(ref: Ref) -> Tensor:
            held = values.get(ref.id)
            return self.execution.tensor(ref).detach().to("cpu", torch.float64) if held is None else held

        return substitute(arguments, tensor)

    def run(self, ops: Ops, values: Mapping[int, Tensor]) -> Tensor:
        """Return the last op's result where some values have other numbers, with neither casts nor sizes of before."""
        values = dict(values)
        with torch.no_grad():
            for op in ops:
                args, kwargs = self.double((op.args, dict(op.kwargs)), values)
                made = args[0] if op.name in ("aten._to_copy", SPREADING) else op.func(*args, **kwargs)
                made = made if isinstance(made, list | tuple) else (made,)
                values |= {v: one for v, one in zip(op.outputs, made, strict=False) if v is not None}
        return made[0]

    def rounding(self, ops: Ops) -> float:
        """Return how far apart equal results may be: constants are written with as many digits as a dtype needs."""
        coarsest = max(torch.finfo(self.result(op).dtype).eps for op in ops)
        return min(max(64 * coarsest, 1e-10), 1e-6)

    def result(self, op: TracedOp) -> Tensor:
        """Return the first result of an op; those of a region are tensors."""
        return next(self.execution.tensor(value) for value in op.outputs if value is not None)

    def one_dtype(self, last: TracedOp, refs: list[Ref]) -> bool:
        """Return whether some tensors have the dtype of an op's result."""
        return {self.execution.tensor(ref).dtype for ref in refs} == {self.result(last).dtype}


def alike(one: Tensor, other: Tensor, tolerance: Tensor) -> bool:
    """Return whether two tensors are equal within a tolerance an entry. What is not a number equals nothing."""
    return one.shape == other.shape and bool(((one - other).abs() <= tolerance).all())
