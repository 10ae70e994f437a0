"""A norm or an activation that is written out in Python is one step, as the op that torch has for it.

    x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)          becomes  aten.rms_norm
    0.5 * x * (1 + torch.tanh(c * (x + 0.044715 * x ** 3)))         becomes  aten.gelu, approximate="tanh"

A region is a set of ops between one tensor and one result, whose other results nobody else reads. What it computes is
found by running it, in double precision and without its casts, on numbers of our own, beside the op that it may be. So
the spelling does not matter, nor does the batch that was recorded.

A product of functions of one tensor's entries that is no known op, x * torch.sigmoid(1.702 * x), is one step as well: a
function of its own, a unit edge for each entry. A tensor times itself, x * x, stays a product of two equal factors. Any
other region is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from provnet.capture.execution import Execution, Ref, TracedOp
from provnet.circuit.unit_functions import STEPS
from provnet.rules.ops.written_out import WrittenOut
from provnet.rules.trials import Trial, alike
from provnet.rules.written_norms import REDUCTIONS, norm_of

LONGEST = 20
"""The most ops of a region."""

_ALGEBRA = "_to_copy add div mul neg pow reciprocal rsub square sub"
_ACTIVATION = (
    f"{_ALGEBRA} abs clamp clamp_max clamp_min erf exp hardsigmoid hardtanh log1p relu relu6 sigmoid softplus tanh"
)
_NORM = f"{_ALGEBRA} clamp_min expand linalg_vector_norm maximum mean norm rsqrt sqrt std std_mean sum var var_mean"
ACTIVATION = frozenset(f"aten.{name}" for name in _ACTIVATION.split())
NORM = frozenset(f"aten.{name}" for name in _NORM.split())
"""What a region is made of."""

ELEMENTWISE = frozenset(f"aten.{name}" for name in STEPS)
PRODUCTS = frozenset({"aten.mul", "aten.div", "aten.true_divide", "aten.pow"})
"""What a function of entries may be made of, and what it ends in."""

PARTS = ACTIVATION | NORM | ELEMENTWISE

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
        read = (value for op in self.ops for value in op.reads)
        return tuple(value for value in dict.fromkeys(read) if value not in inside)

    @property
    def reason(self) -> str:
        """Why a result inside has no relevance, and what to ask for instead."""
        name = self.op.name.removeprefix("aten.").removeprefix("provnet.")
        return f"it is a part of the {name} that ends in {self.op.label!r}. Ask for {self.op.label!r}."


def regions_of(execution: Execution) -> list[Region]:
    """Return the regions of an execution that are known ops, none of which share an op."""
    search = _Search(execution)
    taken: set[int] = set()
    found = []
    for last in reversed(execution.ops):
        if last.index in taken or last.name not in PARTS:
            continue
        region = search.region(last, taken)
        if region is not None:
            found.append(region)
            taken |= {op.index for op in region.ops}
    return found[::-1]


class _Search:
    """What is looked up of one execution: who makes a value, and how often it is read."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.trial = Trial(execution)
        self.maker = {value: op for op in execution.ops for value in op.outputs if value is not None}
        self.uses = Counter(value for op in execution.ops for value in op.reads) + Counter(execution.outputs.values())

    def region(self, last: TracedOp, taken: set[int]) -> Region | None:
        """Return the region that ends in an op, the smallest that is a known step or a function; None if there is none.

        Of what a mean was taken off a norm by σ is a norm too: there the larger one is meant.
        """
        best = None
        for entry, ops in self.grown(last, taken):
            step = self.known(entry, ops) or self.function(entry, ops)
            if step is None:
                continue
            best = Region(ops, step)
            maker = self.maker.get(entry)
            if "norm" not in step.name or maker is None or maker.name not in ("aten.sub", "aten.add", "aten.rsub"):
                break
        return best

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
            if op is None or op.index in taken or op.name not in PARTS:
                return
            if op.index in self.execution.opaque or last.index in self.execution.opaque:
                return
            ops[op.index] = op
            front = (front - {value for value in op.outputs if value is not None}) | set(self._active(op))

    def _active(self, op: TracedOp) -> list[int]:
        return [value for value in op.reads if self.execution.values[value].active]

    def _joins(self, ops: Mapping[int, TracedOp]) -> bool:
        """Return whether two traced tensors meet in the ops. Else each is a step of one tensor already."""
        return any(len(self._active(op)) > 1 for op in ops.values())

    def _closed(self, ops: Mapping[int, TracedOp], last: TracedOp) -> bool:
        """Return whether nobody else reads what the ops make on the way, and the last one makes one floating result."""
        within = Counter(value for op in ops.values() for value in op.reads)
        made = {value for op in ops.values() for value in op.outputs if value is not None}
        floating = all(self.execution.tensor(value).is_floating_point() for value in made)
        inner = made - set(last.outputs)
        return floating and len(last.outputs) == 1 and all(within[value] == self.uses[value] for value in inner)

    # -- what a region is ----------------------------------------------------------------------------------------------

    def known(self, entry: int, ops: tuple[TracedOp, ...]) -> TracedOp | None:
        """Return the activation or norm that computes what the ops do, None if there is none."""
        tensor, result = self.execution.tensor(entry), self.trial.result(ops[-1])
        if tensor.shape != result.shape or not tensor.is_floating_point():
            return None
        names, constants = {op.name for op in ops}, self.trial.constants(ops)
        if any(self.trial.shape(ref) == () and self.trial.learned(ref) for ref in constants):
            return None
        if not names & REDUCTIONS and names <= ACTIVATION:
            return None if any(self.trial.shape(ref) for ref in constants) else self._activation(entry, ops)
        if not names & REDUCTIONS or not names <= NORM:
            return None
        return norm_of(self.trial, entry, ops, self._reads(entry, ops))

    def function(self, entry: int, ops: tuple[TracedOp, ...]) -> TracedOp | None:
        """Return a product of functions of one tensor's entries as one op, None if the ops are something else."""
        last, shape = ops[-1], self.trial.shape(entry)
        if last.name not in PRODUCTS or len(set(self._active(last))) < 2 or not {op.name for op in ops} <= ELEMENTWISE:
            return None
        if any(self.trial.shape(value) != shape for op in ops for value in op.outputs[:1] if value is not None):
            return None
        reads = self._reads(entry, ops)
        args = tuple(map(Ref, reads))
        return replace(last, name="provnet.function", func=WrittenOut(ops, reads), args=args, kwargs={})

    def _reads(self, entry: int, ops: tuple[TracedOp, ...]) -> tuple[int, ...]:
        """Return what the ops read from outside, each once, the tensor that they start from first."""
        made = {value for op in ops for value in op.outputs}
        read = (value for op in ops for value in op.reads)
        return tuple(dict.fromkeys([entry, *(value for value in read if value not in made)]))

    def _activation(self, entry: int, ops: tuple[TracedOp, ...]) -> TracedOp | None:
        far = torch.tensor([30.0, 100.0, 1000.0, 10000.0], dtype=torch.float64)
        x = torch.cat([torch.linspace(-12, 12, 241, dtype=torch.float64), far, -far])
        y, rounding = self.trial.run(ops, {entry: x}), self.trial.rounding(ops)
        for function, options in ACTIVATIONS:
            if alike(function(x, **options), y, rounding * (1 + x.abs())):
                if not self.trial.one_dtype(ops[-1], [Ref(entry)]):
                    return None
                name = f"aten.{function._schema.name.removeprefix('aten::')}"
                return replace(ops[-1], name=name, func=function, args=(Ref(entry),), kwargs=options)
        return None
