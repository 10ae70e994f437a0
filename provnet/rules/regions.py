"""A norm or an activation that is written out in Python is one step, as the op that torch has for it.

    x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)          becomes  aten.rms_norm
    0.5 * x * (1 + torch.tanh(c * (x + 0.044715 * x ** 3)))         becomes  aten.gelu, approximate="tanh"

A region is a set of ops between one tensor and one result, whose other results nobody else reads. What it computes is
found by running it, in double precision and without its casts, on numbers of our own, beside the op that it may be. So
the spelling does not matter, nor does the batch that was recorded. A region that is no known op is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from provnet.capture.execution import Execution, Ref, TracedOp
from provnet.rules.ops.arguments import references, substitute
from provnet.rules.ops.base import Op
from provnet.rules.ops.example_layout import Shape

LONGEST = 20
"""The most ops of a region."""

_ALGEBRA = "_to_copy add div mul neg pow reciprocal rsub square sub"
_ACTIVATION = (
    f"{_ALGEBRA} abs clamp clamp_max clamp_min erf exp hardsigmoid hardtanh log1p relu relu6 sigmoid softplus tanh"
)
_NORM = f"{_ALGEBRA} mean rsqrt sqrt var var_mean"
ACTIVATION = frozenset(f"aten.{name}" for name in _ACTIVATION.split())
NORM = frozenset(f"aten.{name}" for name in _NORM.split())
"""What a region is made of. A norm's has no op with a threshold, which numbers of our own might not reach."""

REDUCTIONS = frozenset({"aten.mean", "aten.var", "aten.var_mean"})

_ATEN = torch.ops.aten
ACTIVATIONS: tuple[tuple[Callable[..., Any], dict[str, Any]], ...] = (
    (_ATEN.silu.default, {}),
    (_ATEN.gelu.default, {}),
    (_ATEN.gelu.default, {"approximate": "tanh"}),
    (_ATEN.hardswish.default, {}),
    (_ATEN.mish.default, {}),
)
"""The functions that a region of unit edges may be."""


@dataclass(frozen=True, eq=False)
class Region:
    """Ops that are one step.

    ops   in the order of execution; the last one makes the result.
    op    the step in their place: the known op, with the last one's output, label and module.
    """

    ops: tuple[TracedOp, ...]
    op: TracedOp

    @property
    def inside(self) -> tuple[int, ...]:
        """The results that have no relevance of their own."""
        made = (value for op in self.ops for value in op.outputs if value is not None)
        return tuple(value for value in made if value not in self.op.outputs)

    @property
    def reads(self) -> tuple[int, ...]:
        """What the ops read from outside, each once."""
        inside = self.inside
        read = (ref.id for op in self.ops for ref in references((op.args, op.kwargs)))
        return tuple(value for value in dict.fromkeys(read) if value not in inside)

    @property
    def reason(self) -> str:
        """Why a result inside has no relevance, and what to ask for instead."""
        name = self.op.name.removeprefix("aten.")
        return f"it is a part of the {name} that ends in {self.op.label!r}. Ask for {self.op.label!r}."


def regions_of(execution: Execution) -> list[Region]:
    """Return the regions of an execution that are known ops, none of which share an op."""
    search = _Search(execution)
    taken: set[int] = set()
    found = []
    for last in reversed(execution.ops):
        if last.index in taken or last.name not in ACTIVATION | NORM:
            continue
        for entry, ops in search.grown(last, taken):
            step = search.known(entry, ops)
            if step is not None:
                found.append(Region(ops, step))
                taken |= {op.index for op in ops}
                break
    return found[::-1]


class _Search:
    """What is looked up of one execution: who makes a value, and how often it is read."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.maker = {value: op for op in execution.ops for value in op.outputs if value is not None}
        read = (ref.id for op in execution.ops for ref in references((op.args, op.kwargs)))
        self.uses = Counter(read) + Counter(execution.outputs.values())

    def grown(self, last: TracedOp, taken: set[int]) -> Iterator[tuple[int, tuple[TracedOp, ...]]]:
        """Yield (the value it starts from, ops) of each region that ends in an op, the smallest first.

        The latest value that the ops read is always made by one more op of the region; where only one value is left,
        all ways from there to the result are inside.
        """
        ops = {last.index: last}
        front = set(self._active(last))
        while front and len(ops) <= LONGEST:
            if len(front) == 1 and self._joins(ops) and self._closed(ops, last):
                yield next(iter(front)), tuple(ops[index] for index in sorted(ops))
            latest = max(front, key=lambda value: self.maker[value].index if value in self.maker else -1)
            op = self.maker.get(latest)
            if op is None or op.index in taken or op.name not in ACTIVATION | NORM:
                return
            if op.index in self.execution.opaque or last.index in self.execution.opaque:
                return
            ops[op.index] = op
            front = (front - {value for value in op.outputs if value is not None}) | set(self._active(op))

    def _active(self, op: TracedOp) -> list[int]:
        return [ref.id for ref in references((op.args, op.kwargs)) if self.execution.active(ref)]

    def _joins(self, ops: Mapping[int, TracedOp]) -> bool:
        """Return whether two traced tensors meet in the ops. Else each is a step of one tensor already."""
        return any(len(self._active(op)) > 1 for op in ops.values())

    def _closed(self, ops: Mapping[int, TracedOp], last: TracedOp) -> bool:
        """Return whether nobody else reads what the ops make on the way, and the last one makes one floating result."""
        within = Counter(ref.id for op in ops.values() for ref in references((op.args, op.kwargs)))
        made = {value for op in ops.values() for value in op.outputs if value is not None}
        floating = all(self.execution.tensor(value).is_floating_point() for value in made)
        inner = made - set(last.outputs)
        return floating and len(last.outputs) == 1 and all(within[value] == self.uses[value] for value in inner)

    # -- what a region is ----------------------------------------------------------------------------------------------

    def known(self, entry: int, ops: tuple[TracedOp, ...]) -> TracedOp | None:
        """Return the known op that computes what the ops do, None if there is none."""
        tensor, result = self.execution.tensor(entry), self._result(ops[-1])
        if tensor.shape != result.shape or not tensor.is_floating_point():
            return None
        names = {op.name for op in ops}
        read = (ref for op in ops for ref in references((op.args, op.kwargs)))
        constants = list(dict.fromkeys(ref for ref in read if not self.execution.active(ref)))
        if any(self._shape(ref) == () and self._learned(ref) for ref in constants):
            return None
        if not names & REDUCTIONS and names <= ACTIVATION:
            return self._activation(entry, ops) if self._all_shaped(constants, [()]) else None
        if not names & REDUCTIONS or not names <= NORM:
            return None
        shape = self._normalised(ops)
        if shape is None or not self._all_shaped(constants, [(), shape]):
            return None
        return self._norm(entry, ops, shape, [ref for ref in constants if self._shape(ref) == shape])

    def _learned(self, ref: Ref) -> bool:
        """Return whether a constant is one that training changes: it is no fixed number of a function."""
        value = self.execution.values[ref.id]
        return value.kind == "parameter" or (value.owner is not None and value.owner.requires_grad)

    def _shape(self, value: Ref | int) -> Shape:
        return tuple(self.execution.tensor(value).shape)

    def _all_shaped(self, constants: list[Ref], shapes: list[Shape]) -> bool:
        return all(self._shape(ref) in shapes for ref in constants)

    def _activation(self, entry: int, ops: tuple[TracedOp, ...]) -> TracedOp | None:
        far = torch.tensor([30.0, 100.0, 1000.0, 10000.0], dtype=torch.float64)
        x = torch.cat([torch.linspace(-12, 12, 241, dtype=torch.float64), far, -far])
        y, rounding = self._run(entry, ops, x), self._rounding(ops)
        for function, options in ACTIVATIONS:
            if _alike(function(x, **options), y, rounding * (1 + x.abs())):
                return self._step(ops[-1], function, [Ref(entry)], options)
        return None

    def _normalised(self, ops: tuple[TracedOp, ...]) -> Shape | None:
        """Return the lengths of the last axes that all means of the ops are taken over, None if they are others."""
        found = set()
        for op in ops:
            if op.name not in REDUCTIONS:
                continue
            seen = Op(self.execution, op, {})
            shape, dims = self._shape(self._active(op)[0]), seen["dim"]
            axes = sorted(dim % len(shape) for dim in dims or ())
            if not axes or not seen["keepdim"] or axes != list(range(axes[0], len(shape))) or axes[0] == 0:
                return None
            found.add(shape[axes[0] :])
        return found.pop() if len(found) == 1 else None

    def _norm(self, entry: int, ops: tuple[TracedOp, ...], shape: Shape, constants: list[Ref]) -> TracedOp | None:
        """Return the RMS or layer norm with the ε, weight and bias that stand in the ops, None if it is neither."""
        rank, rounding = len(self._shape(entry)), self._rounding(ops)
        if len(constants) > 2:
            return None
        pairs = dict.fromkeys(permutations([*constants, *(None,) * (2 - len(constants))], 2))
        numbers = {part for op in ops for part in (*op.args, *op.kwargs.values()) if isinstance(part, float)}
        for eps in [*sorted(part for part in numbers if 0 < part < 1), 0.0]:
            rows = _rows(shape, eps).reshape(-1, *(1,) * (rank - len(shape) - 1), *shape)
            y = self._run(entry, ops, rows)
            for weight, bias in pairs:
                given = [Ref(entry), list(shape), weight]
                tries = [(_ATEN.layer_norm.default, [*given, bias, eps])]
                if bias is None:
                    tries.append((_ATEN.rms_norm.default, [*given, eps]))
                for function, args in tries:
                    if _alike(function(*self._double(args, {entry: rows})), y, rounding * (1 + y.abs())):
                        return self._step(ops[-1], function, args, {})
        return None

    # -- running them --------------------------------------------------------------------------------------------------

    def _double(self, arguments: Any, values: Mapping[int, Tensor]) -> Any:
        """Return arguments with tensors in double precision: those in `values`, else the recorded constants."""

        def tensor(ref: Ref) -> Tensor:
            held = values.get(ref.id)
            return self.execution.tensor(ref).detach().to("cpu", torch.float64) if held is None else held

        return substitute(arguments, tensor)

    def _run(self, entry: int, ops: tuple[TracedOp, ...], x: Tensor) -> Tensor:
        """Return what the ops make of x, casts left out."""
        values = {entry: x}
        with torch.no_grad():
            for op in ops:
                args, kwargs = self._double((op.args, dict(op.kwargs)), values)
                made = args[0] if op.name == "aten._to_copy" else op.func(*args, **kwargs)
                made = made if isinstance(made, list | tuple) else (made,)
                values |= {v: one for v, one in zip(op.outputs, made, strict=False) if v is not None}
        return made[0]

    def _rounding(self, ops: tuple[TracedOp, ...]) -> float:
        """Return how far apart equal results may be: constants are written with as many digits as a dtype needs."""
        coarsest = max(torch.finfo(self._result(op).dtype).eps for op in ops)
        return min(max(64 * coarsest, 1e-10), 1e-6)

    def _result(self, op: TracedOp) -> Tensor:
        """Return the first result of an op; those of a region are tensors."""
        return next(self.execution.tensor(value) for value in op.outputs if value is not None)

    def _step(self, last: TracedOp, function: Any, args: list[Any], options: dict[str, Any]) -> TracedOp | None:
        """Return the op in place of others, None where a constant or the result has another dtype than the entry."""
        dtypes = {self.execution.tensor(ref).dtype for ref in references(args)}
        if dtypes != {self._result(last).dtype}:
            return None
        name = f"aten.{function._schema.name.removeprefix('aten::')}"
        return replace(last, name=name, func=function, args=tuple(args), kwargs=options)


def _alike(one: Tensor, other: Tensor, tolerance: Tensor) -> bool:
    """Return whether two tensors are equal within a tolerance an entry. What is not a number equals nothing."""
    return one.shape == other.shape and bool(((one - other).abs() <= tolerance).all())


def _rows(shape: Shape, eps: float) -> Tensor:
    """Return rows of several sizes, [rows, *shape]: ε counts for nothing, for half, and for nearly all."""
    sizes = torch.tensor([10.0, 1.0, eps**0.5, 1e-2, 1e-4, 1e-6, 1e-9, 1e-12], dtype=torch.float64)
    sizes = sizes[sizes > 0]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(sizes), *shape, generator=generator, dtype=torch.float64)
    return (rows + 0.5) * sizes.reshape(-1, *(1,) * len(shape))
