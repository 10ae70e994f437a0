"""Layer, group, instance, RMS and other norms: y_k = γ_k (a_k - m) / σ + β_k over groups of n neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from provnet.capture.execution import Ref
from provnet.circuit.blocks import Block, Call, Operand
from provnet.circuit.conventions import DERIVATIVE
from provnet.circuit.deferred import Deferred
from provnet.circuit.einsums import einsum_wiring
from provnet.circuit.weights import Centred, Jacobian, Ones, Stored, Weight
from provnet.circuit.wiring import OneToOne, Scale, Wiring, dense
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.broadcasting import against
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.softmax import by_rows
from provnet.rules.ops.written_out import WrittenOut, call_of

MATRIX = 4096
"""Up to so many neurons a group, (δ - 1/n) γ is one matrix that all rows share; it serves every kernel."""


@op_rule("aten.native_layer_norm", "aten.layer_norm")
def layer_norm(op: Op) -> Placed:
    """y = γ (a - m) / σ + β over the last axes. Detached: σ is constant (Ali et al. 2022)."""
    layout, rows, size = _last_axes(op)
    gamma, beta = (None if op[name] is None else op.tensor(op[name]).reshape(-1) for name in ("weight", "bias"))
    return normed(op, layout, (rows, size), gamma, beta, eps=op["eps"], centred=True)


@op_rule("aten._fused_rms_norm", "aten.rms_norm")
def rms_norm(op: Op) -> Placed:
    """y = γ a / σ with σ² = mean a² + ε: one edge an entry, for the mean stays."""
    layout, rows, size = _last_axes(op)
    gamma = None if op["weight"] is None else op.tensor(op["weight"]).reshape(-1)
    eps = torch.finfo(op.tensor(op.output).dtype).eps if op["eps"] is None else op["eps"]
    return normed(op, layout, (rows, size), gamma, None, eps=eps, centred=False)


def _last_axes(op: Op) -> tuple[Layout, int, int]:
    """Return the layout, and how many groups of how many neurons one example has. Refuses the examples' axis."""
    axes, source = len(op["normalized_shape"]), op.only()
    shape, layout = op.shape(source), op.layout(source)
    if layout.axis >= len(shape) - axes:
        op.crosses(f"it normalises over axis {layout.axis}, which holds the examples")
    size = prod(op["normalized_shape"])
    return layout, op.size(source) // size, size


@op_rule("aten.native_group_norm", "aten.group_norm")
def group_norm(op: Op) -> Placed:
    """The same over the channels of a group and all places; γ and β are one number a channel."""
    source = op.only()
    layout, shape = op.layout(source), op.shape(source)
    if layout.axis != 0:
        op.crosses(f"it normalises over axis {layout.axis}, which holds the examples")
    groups = op["group"] or op["num_groups"]
    size = shape[1] // groups * prod(shape[2:])

    def by_group(name: str) -> Tensor | None:
        if op[name] is None:
            return None
        values = op.tensor(op[name]).repeat_interleave(prod(shape[2:]))
        return values.repeat(layout.rows).reshape(-1, size)

    sizes = layout.rows * groups, size
    return normed(op, layout, sizes, by_group("weight"), by_group("bias"), eps=op["eps"], centred=True)


@dataclass(frozen=True)
class Deviation:
    """What a norm divides by: σ, of a group's entries a, or of a - m if it is `centred`.

    base    "mean": σ² = mean a². "unbiased": σ² = Σ a² / (n - 1). "norm": σ = (Σ |a|^order)^(1/order).
    place   where ε stands: "inside", √(σ² + ε); "outside", σ + ε; "least", max(σ, ε).
    """

    centred: bool
    base: str = "mean"
    order: float = 2.0
    place: str = "inside"
    eps: float = 0.0

    def away(self, a: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Return what is divided by σ."""
        return a - a.mean(axes, keepdim=True) if self.centred else a

    def sigma(self, away: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Return σ of every group, its axes kept with the size one."""
        count = prod(away.shape[axis] for axis in axes)
        if self.base == "norm":
            size = torch.linalg.vector_norm(away, self.order, axes, keepdim=True)
        else:
            size = (away.square().sum(axes, keepdim=True) / (count - (self.base == "unbiased"))).sqrt()
        if self.place == "inside":
            return size if self.eps == 0 else (size.square() + self.eps).sqrt()
        return size + self.eps if self.place == "outside" else size.clamp_min(self.eps)

    def normed(self, a: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Return (a - m) / σ, or a / σ."""
        away = self.away(a, axes)
        return away / self.sigma(away, axes)


@dataclass(frozen=True, eq=False)
class WrittenNorm(WrittenOut):
    """A norm that is written out: y = γ (a - m) / σ + β along `axes`, side by side, of the whole tensor."""

    axes: tuple[int, ...]
    deviation: Deviation
    weight: Ref | None
    bias: Ref | None


@op_rule("provnet.norm")
def written_norm(op: Op) -> Placed:
    """y = γ (a - m) / σ + β written out, along any axes, for any σ: over channels, (a - m) / (σ + ε), a / |a|."""
    source, norm = op.inputs[0], op.traced.func
    layout, shape = op.layout(source), op.neurons(source)
    if layout.axis in norm.axes:
        op.crosses(f"it normalises over axis {layout.axis}, which holds the examples")
    places = [layout.place(axis) for axis in norm.axes]
    if places != list(range(places[0], places[-1] + 1)):
        op.missing("a norm whose axes do not lie side by side in one example")
    sizes = prod(shape[: places[0]]), prod(shape[axis] for axis in places), prod(shape[places[-1] + 1 :])
    a = op.by_example(source).reshape(op.batch, *sizes)
    sigma = norm.deviation.sigma(norm.deviation.away(a, (2,)), (2,))
    inverse = torch.where(sigma > 0, 1 / sigma, torch.zeros_like(sigma))  # a group of zeros has nothing to share
    gamma, beta = (_spread(op, ref, layout, sizes) for ref in (norm.weight, norm.bias))
    call = call_of(op)
    return _with_forms(op, layout, sizes, (gamma, beta, inverse), centred=norm.deviation.centred, call=call)


def _spread(op: Op, ref: Ref | None, layout: Layout, sizes: tuple[int, int, int]) -> Tensor | None:
    """Return a constant as [n] where all groups share it, else as [groups, n]; None stays None."""
    if ref is None:
        return None
    values, part, shape = op.tensor(ref), against(op, ref, layout), op.neurons(op.inputs[0])
    if values.numel() != prod(part):
        op.missing("a norm whose weight differs from example to example")
    whole = values.reshape(part).expand(shape).reshape(sizes)
    rows = whole.movedim(1, 2).reshape(-1, sizes[1])
    return rows[0].clone() if len(rows) == 1 or bool((rows == rows[:1]).all()) else rows


def normed(
    op: Op,
    layout: Layout,
    sizes: tuple[int, int],
    gamma: Tensor | None,
    beta: Tensor | None,
    *,
    eps: float,
    centred: bool,
) -> Placed:
    """Return the block of a norm, with its forms.

    sizes         (groups, n): how many groups of how many neurons one example has, one after the other.
    gamma, beta   [n] where all groups share them, else [groups, n]; None: ones, zeros.
    """
    (rows, size), source = sizes, op.inputs[0]
    a = op.by_example(source).reshape(op.batch, rows, size)
    away = a - a.mean(-1, keepdim=True) if centred else a
    inverse = torch.rsqrt(away.square().mean(-1) + eps)
    return _with_forms(op, layout, (rows, size, 1), (gamma, beta, inverse), centred=centred, call=op.call())


def _with_forms(
    op: Op,
    layout: Layout,
    sizes: tuple[int, int, int],
    numbers: tuple[Tensor | None, Tensor | None, Tensor],
    *,
    centred: bool,
    call: Call | None,
) -> Placed:
    """Return the block of a norm from its numbers, with its forms.

    sizes     entries before the axes of the norm, along them (n), and behind them
    numbers   (γ, β, 1 / σ): γ and β [n] where all groups share them, else [groups, n]; 1 / σ one number a group
    """
    (rows, _, behind), (gamma, beta, inverse), source = sizes, numbers, op.inputs[0]
    wiring, weight = _edges(sizes, gamma, centred, like=op.tensor(op.output))
    if behind > 1:  # groups lie side by side: each neuron has its group's number
        inverse = inverse.reshape(op.batch, rows, 1, behind).expand(op.batch, *sizes)
    operand = Operand(source, wiring, weight, scale=inverse.reshape(op.batch, -1))
    bias = None if beta is None else _indexed(wiring, beta, sizes)
    block = op.block("affine", "norm", [operand], layout, bias=bias, function="norm").block
    if call is None:
        op.missing("it cannot be run again by itself, so its derivative is not known")
    slope = Jacobian(source, op.output, call, rows * behind, behind)
    forms: dict[str, Block] = {
        "identity": op.unit_edges(source, function="norm").block,
        DERIVATIVE: by_rows(op, layout, sizes, "norm", slope),
    }
    return Placed(replace(block, convention="norm", forms=forms), layout)


def _indexed(wiring: Wiring, beta: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    """Return β as the wiring indexes biases: one for each neuron of a group, or one for each neuron."""
    rows, size, behind = sizes
    if int(wiring.bias(wiring.outputs - 1)) + 1 == beta.numel():
        return beta.reshape(-1)
    groups = beta if beta.dim() == 2 else beta.expand(rows * behind, size)
    return groups.reshape(rows, behind, size).movedim(1, 2).reshape(-1)


def _edges(sizes: tuple[int, int, int], gamma: Tensor | None, centred: bool, *, like: Tensor) -> tuple[Wiring, Weight]:
    """Return the wiring and the weights (δ_jk - 1/n) γ_k, or γ_k on one edge an entry where no mean is taken off."""
    rows, size, behind = sizes
    count, shared = rows * size * behind, gamma is None or gamma.dim() == 1
    if not centred:
        if gamma is None:
            return OneToOne(count, count), Ones()
        if shared:
            return Scale(count, count, inner=behind, size=size), Stored(gamma)
        groups = gamma.reshape(rows, behind, size).movedim(1, 2)
        return OneToOne(count, count), Stored(groups.reshape(-1))
    matrix = Deferred(_matrix(size, like), *(() if gamma is None else (gamma,)))
    groups = {"o": rows, "j": size, "k": size, "b": behind}
    if behind > 1:
        return einsum_wiring("ojb", "kj", "okb", groups), Stored(matrix)
    if shared and size <= MATRIX:
        return dense(rows, size, size), Stored(matrix)
    return einsum_wiring("oj", "kj" if shared else "okj", "ok", groups), Centred(gamma, size)


def _matrix(size: int, like: Tensor) -> Callable[..., Tensor]:
    dtype, device = like.dtype, like.device

    def make(gamma: Tensor | None = None) -> Tensor:
        centre = torch.eye(size, dtype=dtype, device=device) - 1 / size
        return centre if gamma is None else centre * gamma[:, None]

    return make
