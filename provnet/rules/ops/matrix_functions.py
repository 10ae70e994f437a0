"""Functions of matrices: inverses, determinants, factors. Each matrix of a stack stands for itself.

An inverse is Z = Z A Z, a sum over the entries of A, and a determinant is the sum of one row's entries times their
cofactors, taken over all n rows: p sums up to the result in both. Of other functions there is their derivative alone:
they are kept as it, p_ij = a_i ∂z_j/∂a_i, and what is left of z_j is a bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from provnet.circuit.blocks import Operand
from provnet.circuit.conventions import DERIVATIVE
from provnet.circuit.deferred import Deferred
from provnet.circuit.einsums import Einsum, einsum_wiring
from provnet.circuit.weights import PerExample
from provnet.errors import LimitError, TraceError
from provnet.rules.ops.base import FORMS, Op, Placed, op_rule
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.opaque import LIMIT


def _matrices(op: Op, value: int) -> Tensor:
    """Return an activation's matrices, [batch, matrices an example, rows, columns]."""
    shape = op.shape(value)
    if len(shape) < 3 and op.batch > 1:
        op.crosses("its matrix holds all examples")
    if op.layout(value).axis >= len(shape) - 2 and op.batch > 1:
        op.crosses("its matrices hold several examples each")
    return op.by_example(value).reshape(op.batch, -1, *shape[-2:])


def _layout(op: Op, output: int) -> Layout:
    """Return where a result, whose axes before the last ones are the input's, holds its examples."""
    layout = op.layout(op.only())
    if layout.fits(op.shape(output), op.batch):
        return layout
    shape = op.shape(output)
    return Layout(0, inner=shape[0]) if shape else Layout()


def _by_matrix(op: Op, output: int, size: int) -> tuple[Einsum, int]:
    """Return the wiring in which every matrix feeds the entries of its own result, and how many entries those are."""
    rows = prod(op.shape(op.only())[:-2]) // op.batch
    entries = op.tensor(output).numel() // (op.batch * rows)
    _refuse_large(op, rows * entries * size)
    return einsum_wiring("rj", "rkj", "rk", {"r": rows, "j": size, "k": entries}), entries


def _refuse_large(op: Op, weights: int) -> None:
    if op.batch * weights > LIMIT:
        raise LimitError(
            f"{op}: its derivative has {op.batch * weights:,} entries, more than {LIMIT:,}. Take a smaller batch, or "
            f"{op.uniform_instead}."
        )


@op_rule("aten.linalg_inv_ex", "aten.inverse")
def inverse(op: Op) -> Placed:
    """Z = A⁻¹ = Z A Z: p = z_ki a_ij z_jl on the edge from a_ij to z_kl, as 1/x is a unit edge. ∂z/∂a has another sign.

    Source: the derivative is -Z dA Z (Petersen and Pedersen, The Matrix Cookbook, eq. 40).
    """
    source = op.only()
    size = op.shape(source)[-1] ** 2
    _matrices(op, source)
    wiring, _ = _by_matrix(op, op.output, size)
    layout = _layout(op, op.output)
    z = layout.by_example(op.tensor(op.output), op.batch).reshape(op.batch, -1, *op.shape(source)[-2:])
    operand = Operand(source, wiring, PerExample(Deferred(_both_sides(1), z)))
    placed = op.block("affine", "sum", [operand], layout)
    slopes = replace(placed.block, operands=(replace(operand, weight=PerExample(Deferred(_both_sides(-1), z))),))
    return replace(placed, block=replace(placed.block, forms={DERIVATIVE: slopes}))


def _both_sides(sign: int) -> Callable[[Tensor], Tensor]:
    def weights(z: Tensor) -> Tensor:
        n = z.shape[-1]
        return sign * torch.einsum("brki,brjl->brklij", z, z).reshape(*z.shape[:2], n * n, n * n)

    return weights


@op_rule("aten._linalg_det")
def determinant(op: Op) -> Placed:
    """z = det A: p = a_ij C_ij / n, C the cofactors, for each of the n rows alone adds up to z. ∂z/∂a_ij = C_ij."""
    source = op.only()
    n = op.shape(source)[-1]
    a = _matrices(op, source)
    wiring, _ = _by_matrix(op, op.output, n * n)
    layout = _layout(op, op.output)
    operand = Operand(source, wiring, PerExample(Deferred(_cofactors(1 / n), a)))
    placed = op.block("affine", "sum", [operand], layout)
    slopes = replace(placed.block, operands=(replace(operand, weight=PerExample(Deferred(_cofactors(1), a))),))
    return replace(placed, block=replace(placed.block, forms={DERIVATIVE: slopes}))


def _cofactors(times: float) -> Callable[[Tensor], Tensor]:
    def weights(a: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = a.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(torch.linalg.det(leaf).sum(), leaf)
        return (found * times).reshape(*a.shape[:2], 1, -1)

    return weights


@op_rule(
    "aten._linalg_eigh",
    "aten._linalg_slogdet",
    "aten._linalg_svd",
    "aten.linalg_cholesky_ex",
    "aten.linalg_matrix_exp",
    "aten.linalg_pinv",
    "aten.linalg_qr",
    "aten.logdet",
)
def derivative(op: Op) -> list[Placed]:
    """A function of each matrix, kept as its derivative: p = a_i ∂z_j/∂a_i, the rest of z_j is a bias."""
    source = op.only()
    _matrices(op, source)
    size = prod(op.shape(source)[-2:])
    with torch.inference_mode(False), torch.enable_grad():
        leaf = op.tensor(source).detach().clone().requires_grad_()
        results = op.replay(lambda ref: leaf if op.active(ref) else op.tensor(ref))
        placed = []
        for output, result in zip(op.traced.outputs, results, strict=True):
            if output is None or not op.execution.values[output].active or not result.requires_grad:
                continue
            wiring, entries = _by_matrix(op, output, size)
            rows = result.reshape(*leaf.shape[:-2], entries)
            slopes = _slopes(rows, leaf)
            if slopes is not None:  # else it is a by-product that autograd does not follow
                placed.append(_expanded(op, output, wiring, (slopes, leaf.detach(), rows.detach())))
    return placed or op.missing("no result of it has a derivative")


def _slopes(rows: Tensor, leaf: Tensor) -> Tensor | None:
    """Return the derivative of each entry of each row by its own matrix, [..., entries, rows, columns]."""
    found = [
        torch.autograd.grad(entry.sum(), leaf, retain_graph=True, allow_unused=True)[0] for entry in rows.unbind(-1)
    ]
    return None if any(one is None for one in found) else torch.stack(found, -3)


def _expanded(op: Op, output: int, wiring: Einsum, found: tuple[Tensor, Tensor, Tensor]) -> Placed:
    """Return the block of z = J·a + b for each matrix, from J, a and z."""
    slopes, x, z = (op.layout(op.only()).by_example(one, op.batch) for one in found)
    if not bool(torch.isfinite(slopes).all()):
        raise TraceError(
            f"{op} has a derivative with NaN or Inf, as where two singular values are one. Add a little to the "
            f"matrix that tells them apart, or {op.uniform_instead}."
        )
    weights = slopes.reshape(op.batch, wiring.size["r"], wiring.size["k"], wiring.size["j"])
    x, z = (one.reshape(op.batch, wiring.size["r"], -1) for one in (x, z))
    rest = (z - torch.einsum("brkj,brj->brk", weights, x)).reshape(op.batch, -1)
    operand = Operand(op.only(), wiring, PerExample(weights))
    layout = _layout(op, output)
    return op.block("affine", "sum", [operand], layout, output=output, bias=rest, bias_by_example=True)


op_rule("aten.linalg_lstsq", form=FORMS.get("jacobian"))
