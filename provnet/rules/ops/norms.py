"""Layer, group, instance and RMS norms: y_k = γ_k (a_k - m) / σ + β_k over groups of n neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, Operand
from provnet.circuit.conventions import DERIVATIVE
from provnet.circuit.deferred import Deferred
from provnet.circuit.weights import Centred, Ones, Stored, Weight
from provnet.circuit.wiring import OneToOne, Scale, Wiring, dense, einsum_wiring
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.softmax import by_rows

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
    return layout, op.tensor(source).numel() // op.batch // size, size


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
    wiring, weight = _edges(rows, size, gamma, centred, like=a)
    operand = Operand(source, wiring, weight, scale=inverse)
    bias = None if beta is None else _indexed(wiring, beta, rows)
    block = op.block("affine", "norm", [operand], layout, bias=bias, function="norm").block
    unit = op.unit_edges(function="norm").block
    forms: dict[str, Block] = {"identity": unit, DERIVATIVE: by_rows(op, layout, (rows, size, 1), "norm")}
    return Placed(replace(block, convention="norm", forms=forms), layout)


def _indexed(wiring: Wiring, beta: Tensor, rows: int) -> Tensor:
    """Return β as the wiring indexes biases: one for each neuron of a group, or one for each neuron."""
    needed = int(wiring.bias(wiring.outputs - 1)) + 1
    flat = beta.reshape(-1)
    return flat if flat.numel() == needed else flat.repeat(rows)


def _edges(rows: int, size: int, gamma: Tensor | None, centred: bool, *, like: Tensor) -> tuple[Wiring, Weight]:
    """Return the wiring and the weights (δ_jk - 1/n) γ_k, or γ_k on one edge an entry where no mean is taken off."""
    shared = gamma is None or gamma.dim() == 1
    if not centred:
        if gamma is None:
            return OneToOne(rows * size, rows * size), Ones()
        if shared:
            return Scale(rows * size, rows * size, inner=1, size=size), Stored(gamma)
        return OneToOne(rows * size, rows * size), Stored(gamma)
    if shared and size <= MATRIX:
        return dense(rows, size, size), Stored(Deferred(_matrix(size, like), *(() if gamma is None else (gamma,))))
    sizes = {"o": rows, "j": size, "k": size}
    return einsum_wiring("oj", "kj" if shared else "okj", "ok", sizes), Centred(gamma, size)


def _matrix(size: int, like: Tensor) -> Callable[..., Tensor]:
    dtype, device = like.dtype, like.device

    def make(gamma: Tensor | None = None) -> Tensor:
        centre = torch.eye(size, dtype=dtype, device=device) - 1 / size
        return centre if gamma is None else centre * gamma[:, None]

    return make
