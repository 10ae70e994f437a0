"""Reductions that are no sums of their entries: norms of vectors, deviations, variances, logsumexp.

Each is the sum of what its derivative gives its entries, p_j = a_j ∂z/∂a_j, by Euler's theorem: exactly so where
z(c a) = c z(a), half of it where z(c a) = c² z(a), and but for a bias in a logsumexp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from string import ascii_letters

import torch
from torch import Tensor

from provnet.circuit.blocks import Call, Input, Operand, Role
from provnet.circuit.conventions import DERIVATIVE
from provnet.circuit.deferred import Deferred
from provnet.circuit.einsums import Einsum, einsum_wiring
from provnet.circuit.weights import PerExample
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.reductions import reduced
from provnet.rules.ops.softmax import finite


def _edges(op: Op, named: int | list[int] | None) -> tuple[Einsum, Layout]:
    """Return the wiring in which every entry has a weight of its own on its only edge, and the result's layout."""
    wiring, layout, _ = reduced(op, named, bool(op["keepdim"]))
    labels = ascii_letters[: len(wiring.shape)]
    kept = "".join(label for axis, label in enumerate(labels) if axis not in wiring.dims)
    return einsum_wiring(labels, labels, kept, dict(zip(labels, wiring.shape, strict=True))), layout


def _slopes(op: Op, times: float = 1) -> PerExample:
    """Return the derivative of every result by its entries, `times` that, [batch, entries]."""
    call, source = op.call(), op.only()
    if call is None:
        op.missing("it cannot be run again by itself, so its derivative is not known")
    return PerExample(Deferred(_slope(call, op.layout(source), op.batch, times), op.tensor(source)))


def _slope(call: Call, layout: Layout, batch: int, times: float) -> Callable[[Tensor], Tensor]:
    def slope(x: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            args = [leaf if isinstance(value, Input) else value for value in call.args]
            result = getattr(getattr(torch.ops.aten, call.op), call.overload)(*args, **call.kwargs)
            first = result[0] if isinstance(result, tuple) else result
            (found,) = torch.autograd.grad(first.sum(), leaf)
        return layout.by_example(found * times, batch).reshape(batch, -1)

    return slope


def _summed(op: Op, named: int | list[int] | None, role: Role = "sum") -> Placed:
    """Return the block of a reduction that is the sum of a_j ∂z/∂a_j, and a bias if it has one."""
    wiring, layout = _edges(op, named)
    return op.block("affine", role, [Operand(op.only(), wiring, _slopes(op))], layout)


@op_rule("aten.linalg_vector_norm", "aten.norm")
def vector_norm(op: Op) -> Placed:
    """z = |a|_p: p_j = a_j ∂z/∂a_j, a_j² / |a| of a Euclidean norm. A vector of zeros has no shares."""
    order = op["ord"] if op.short == "linalg_vector_norm" else op["p"]
    if order == 0:
        op.missing("it counts entries, so it has no derivative")
    return _summed(op, op["dim"])


@op_rule("aten.std", "aten.std_mean")
def deviation(op: Op) -> Placed | list[Placed]:
    """z = the standard deviation: p_j = a_j (a_j - m) / (N z)."""
    placed = _summed(op, op["dim"])
    return placed if op.short == "std" else [placed, _mean(op)]


@op_rule("aten.var", "aten.var_mean")
def variance(op: Op) -> Placed | list[Placed]:
    """z = the variance: p_j = a_j (a_j - m) / N, half of a_j ∂z/∂a_j, for it is a sum of products of two."""
    wiring, layout = _edges(op, op["dim"])
    placed = op.block("affine", "sum", [Operand(op.only(), wiring, _slopes(op, 0.5))], layout)
    whole = replace(placed.block, operands=(Operand(op.only(), wiring, _slopes(op)),))
    placed = replace(placed, block=replace(placed.block, forms={DERIVATIVE: whole}))
    return placed if op.short == "var" else [placed, _mean(op)]


def _mean(op: Op) -> Placed:
    """Return the block of the second result, the mean."""
    wiring, layout, _ = reduced(op, op["dim"], bool(op["keepdim"]))
    output = op.traced.outputs[1]
    assert output is not None
    weight = op.number(1 / wiring.fan, op.tensor(output))
    return op.place("affine", "sum", wiring, layout, output=output, weight=weight)


@op_rule("aten.logsumexp")
def logsumexp(op: Op) -> Placed:
    """z = log Σ exp a_j: p_j = s_j a_j with s = softmax of a, and the rest, the entropy of s, is a bias."""
    placed, (wiring, _) = _summed(op, op["dim"], "softmax"), _edges(op, op["dim"])
    x, z = op.by_example(op.only()), placed.layout.by_example(op.tensor(op.output), op.batch)
    axes = [1 + axis for axis, label in enumerate(wiring.input) if label not in wiring.output_labels]
    s = (x - x.logsumexp(axes, keepdim=True)).exp()
    rest = z.reshape(op.batch, -1) - (s * finite(x)).sum(axes).reshape(op.batch, -1)
    block = replace(placed.block, bias=rest, bias_by_example=True, sink="softmax's rest")
    return replace(placed, block=block)


@op_rule("aten._cdist_forward", "aten.cdist")
def distances(op: Op) -> Placed:
    """z_pr = |x_p - y_r|: x_pm and y_rm by ∂z/∂x and ∂z/∂y; of a constant one the sum of these is the bias."""
    both = [op["x1"], op["x2"]]
    traced = [one for one in both if op.active(one)]
    rank = len(op.shape(op.output))
    layout = op.layout(traced[0])
    plain = all(op.layout(one) == Layout() and len(op.shape(one)) == rank for one in traced)
    if not plain or rank < 3 or any(op.shape(one)[1:-2] != op.shape(traced[0])[1:-2] for one in traced):
        op.missing("distances between points whose examples do not lie on their first axis")
    if op["p"] == 0:
        op.missing("it counts entries, so it has no derivative")
    before = op.shape(op.output)[1:-2]
    points = [op.tensor(one).expand(op.batch, *before, *op.shape(one)[-2:]) for one in both]
    slopes = _distance_slopes(points[0].unsqueeze(-2) - points[1].unsqueeze(-3), float(op["p"]))
    rest, sizes = ascii_letters[: len(before)], dict(zip(ascii_letters, before, strict=False))
    sizes |= {"P": points[0].shape[-2], "R": points[1].shape[-2], "M": points[0].shape[-1]}
    operands, bias = [], None
    for one, rows, label, sign in zip(
        both, (points[0].unsqueeze(-2), points[1].unsqueeze(-3)), "PR", (1, -1), strict=True
    ):
        if op.active(one):
            wiring = einsum_wiring(rest + label + "M", rest + "PRM", rest + "PR", sizes)
            operands.append(Operand(one.id, wiring, PerExample((sign * slopes).reshape(op.batch, -1))))
        else:
            bias = sign * (slopes * rows).sum(-1).reshape(op.batch, -1)
    return op.block("affine", "sum", operands, layout, bias=bias, bias_by_example=bias is not None)


def _distance_slopes(away: Tensor, order: float) -> Tensor:
    """Return the derivative of the norm of each vector by its entries; 0 where a vector is 0."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = away.detach().clone().requires_grad_()
        return torch.autograd.grad(torch.linalg.vector_norm(leaf, order, dim=-1).sum(), leaf)[0]
