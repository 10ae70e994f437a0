"""Norms that are written out in Python: y = γ (a - m) / σ + β, whatever axes they run along and whatever σ is.

x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)                     becomes  aten.rms_norm
(x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + eps)             becomes  provnet.norm
torch.nn.functional.normalize(x, dim=-1)                                   becomes  provnet.norm
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product
from math import prod

import torch
from torch import Tensor

from provnet.capture.execution import Ref, TracedOp
from provnet.rules.ops.base import Op
from provnet.rules.ops.example_layout import Shape
from provnet.rules.ops.norms import MATRIX, Deviation, WrittenNorm
from provnet.rules.trials import Ops, Trial, alike

_REDUCTIONS = "linalg_vector_norm mean norm std std_mean sum var var_mean"
REDUCTIONS = frozenset(f"aten.{name}" for name in _REDUCTIONS.split())
_ATEN = torch.ops.aten


def norm_of(trial: Trial, entry: int, ops: Ops, reads: tuple[int, ...]) -> TracedOp | None:
    """Return the norm that ops between one tensor and one result compute, None if it is none.

    Args: `reads` what the ops read from outside, the tensor first.
    """
    shape, axes = trial.shape(entry), _axes(trial, ops)
    constants = [ref for ref in trial.constants(ops) if trial.shape(ref)]
    if axes is None or len(constants) > 2 or not all(_along(trial.shape(ref), shape, axes) for ref in constants):
        return None
    search = _Norms(trial, entry, ops, axes, constants)
    found = search.found()
    if found is None or not trial.one_dtype(ops[-1], [Ref(entry), *constants]):
        return None
    deviation, weight, bias = found
    last = axes[-1] == len(shape) - 1
    if not last and prod(shape[axis] for axis in axes) > MATRIX:
        return None
    whole = all(trial.shape(ref) == shape[axes[0] :] for ref in constants)
    if last and whole and deviation.base == "mean" and deviation.place == "inside":
        args = [Ref(entry), list(shape[axes[0] :]), weight]
        if deviation.centred:
            return replace(
                ops[-1],
                name="aten.layer_norm",
                func=_ATEN.layer_norm.default,
                args=(*args, bias, deviation.eps),
                kwargs={},
            )
        if bias is None:
            return replace(
                ops[-1], name="aten.rms_norm", func=_ATEN.rms_norm.default, args=(*args, deviation.eps), kwargs={}
            )
    norm = WrittenNorm(ops, reads, axes, deviation, weight, bias)
    return replace(ops[-1], name="provnet.norm", func=norm, args=tuple(map(Ref, reads)), kwargs={})


def _axes(trial: Trial, ops: Ops) -> tuple[int, ...] | None:
    """Return the axes, side by side, that all reductions of the ops run along, None if they run along others."""
    found = set()
    for op in ops:
        if op.name not in REDUCTIONS:
            continue
        seen = Op(trial.execution, op, {})
        rank, dims = len(trial.shape(seen.inputs[0])), seen["dim"]
        dims = [dims] if isinstance(dims, int) else dims
        axes = tuple(sorted(dim % rank for dim in dims or ()))
        if not axes or not seen["keepdim"] or axes != tuple(range(axes[0], axes[-1] + 1)) or axes[0] == 0:
            return None
        found.add(axes)
    return found.pop() if len(found) == 1 else None


def _along(part: Shape, shape: Shape, axes: tuple[int, ...]) -> bool:
    """Return whether a constant that is broadcast to a tensor differs only along the axes of the norm, or, where these
    are the last ones, along any but the first."""
    if len(part) > len(shape):
        return False
    aligned = (1,) * (len(shape) - len(part)) + part
    free = range(1, len(shape)) if axes[-1] == len(shape) - 1 else axes
    return all(
        size in (1, whole) and (size == 1 or at in free)
        for at, (size, whole) in enumerate(zip(aligned, shape, strict=True))
    )


class _Norms:
    """What is tried of one region: its own results beside those of each norm that it may be."""

    def __init__(self, trial: Trial, entry: int, ops: Ops, axes: tuple[int, ...], constants: list[Ref]) -> None:
        self.trial, self.entry, self.ops, self.axes, self.constants = trial, entry, ops, axes, constants
        shape = trial.shape(entry)
        self.shape = tuple(size if axis in axes else 1 for axis, size in enumerate(shape))
        self.parts = {ref.id: self._part(ref) for ref in constants}

    def _part(self, ref: Ref) -> Tensor:
        """Return a constant's numbers for the first group: all groups have the same formula."""
        values = self.trial.execution.tensor(ref).detach().to("cpu", torch.float64)
        aligned = values.reshape((1,) * (len(self.shape) - values.dim()) + tuple(values.shape))
        for axis in range(len(self.shape)):
            if axis not in self.axes:
                aligned = aligned.narrow(axis, 0, 1)
        return aligned

    def found(self) -> tuple[Deviation, Ref | None, Ref | None] | None:
        """Return (what it divides by, weight, bias), None if the ops are no norm."""
        rounding = self.trial.rounding(self.ops)
        pairs = dict.fromkeys(permutations([*self.constants, *(None,) * (2 - len(self.constants))], 2))
        for eps in self._numbers():
            x = _rows(self.shape, eps)
            y = self.trial.run(self.ops, {self.entry: x, **self.parts})
            for deviation, (weight, bias) in product(self._deviations(eps), pairs):
                wanted = deviation.normed(x, self.axes)
                wanted = wanted if weight is None else wanted * self.parts[weight.id]
                wanted = wanted if bias is None else wanted + self.parts[bias.id]
                if alike(wanted, y, rounding * (1 + y.abs())):
                    return deviation, weight, bias
        return None

    def _numbers(self) -> list[float]:
        """Return the numbers that may be ε, the smallest first, and 0."""
        given = [part for op in self.ops for part in (*op.args, *op.kwargs.values())]
        scalars = (ref for ref in given if isinstance(ref, Ref) and self.trial.shape(ref) == ())
        fixed = (float(self.trial.execution.tensor(ref)) for ref in scalars if not self.trial.execution.active(ref))
        numbers = {*(part for part in given if isinstance(part, float)), *fixed}
        return [*sorted(number for number in numbers if number > 0), 0.0]

    def _deviations(self, eps: float) -> Iterator[Deviation]:
        """Yield what the ops may divide by, the usual ones first."""
        centred = any(op.name in ("aten.sub", "aten.rsub", "aten.add") for op in self.ops)
        orders = {float(Op(self.trial.execution, op, {})["ord"] or 2) for op in self.ops if "vector_norm" in op.name}
        powers = [("norm", order) for order in sorted({1.0, 2.0} | orders)]
        for place in ("inside", "outside", "least") if eps else ("inside",):
            for taken in (True, False) if centred else (False,):
                yield Deviation(taken, "mean", 2.0, place, eps)
            if centred:
                yield Deviation(True, "unbiased", 2.0, place, eps)
            for base, order in powers:
                yield Deviation(False, base, order, place, eps)


def _rows(shape: Shape, eps: float) -> Tensor:
    """Return groups of several sizes, [groups, *shape[1:]]: ε counts for nothing, for half, and for nearly all."""
    near = [eps**0.5, 30 * eps, eps, eps / 30]
    sizes = torch.tensor([10.0, 1.0, *near, 1e-2, 1e-4, 1e-6, 1e-9, 1e-12], dtype=torch.float64)
    sizes = sizes[sizes > 0]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(sizes), *shape[1:], generator=generator, dtype=torch.float64)
    return (rows + 0.5) * sizes.reshape(-1, *(1,) * (len(shape) - 1))
