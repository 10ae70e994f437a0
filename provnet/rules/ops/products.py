"""Products of two traced tensors: elementwise, broadcast, contracted, and quotients. p = a·b on both edges.

Which factor is the gate: every tensor has a rank, that of the last step it went through (see `ranks`), and the factor
of the higher rank is the gate. Two of one rank are a tie, and share the relevance also under `products="value"`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from string import ascii_letters

from torch import Tensor

from provnet.capture.execution import Ref
from provnet.circuit.blocks import Block, Operand
from provnet.circuit.conventions import DERIVATIVE
from provnet.circuit.deferred import Deferred
from provnet.circuit.einsums import einsum_wiring
from provnet.circuit.weights import Partner, PerExample, Weight
from provnet.circuit.wiring import OneToOne, Wiring
from provnet.rules.ops.base import Op, Placed
from provnet.rules.ops.broadcasting import against, result_layout
from provnet.rules.ops.example_layout import Layout, Shape


def with_forms(placed: Placed, ranks: tuple[int, int]) -> Placed:
    """Return a product's block, whose two operands both get the product as their contribution, with its forms."""
    block = placed.block
    whole = replace(block, copies=1)
    forms: dict[str, Block] = {"full": replace(whole, sink="full products")}
    first, second = ranks
    remark = "tie: half"
    if first != second:
        kept, gate = (0, "second") if first < second else (1, "first")
        forms["value"] = replace(whole, operands=(block.operands[kept],))
        remark = f"gate: {gate} factor"
    forms = {name: replace(form, remark=remark) for name, form in forms.items()}
    half = replace(block, copies=2, convention="products", forms=forms, remark=remark)
    return replace(placed, block=half)


def elementwise_product(op: Op, first: Ref, second: Ref) -> Placed:
    """z = x * y, which may broadcast: one term an entry."""
    layout = result_layout(op, (first.id, second.id))
    shapes = against(op, first, layout), against(op, second, layout)
    operands = [
        Operand(first.id, _wiring(op, shapes, 0, layout), Partner(second.id)),
        Operand(second.id, _wiring(op, shapes, 1, layout), Partner(first.id)),
    ]
    ranks = op.rank(first), op.rank(second)
    return with_forms(op.block("affine", "product", operands, layout), ranks)


def quotient(op: Op, first: Ref, second: Ref) -> Placed:
    """z = x / y, the product of x and 1/y: the denominator is the gate, p = x/y on both edges."""
    layout = result_layout(op, (first.id, second.id))
    shapes = against(op, first, layout), against(op, second, layout)
    below, above = op.by_example(second), layout.by_example(op.tensor(op.output), op.batch)
    inverse = PerExample(Deferred(_inverse, below))
    operands = [
        Operand(first.id, _wiring(op, shapes, 0, layout), inverse),
        Operand(
            second.id,
            _wiring(op, (shapes[1], layout.neurons(op.shape(op.output))), 0, layout),
            PerExample(Deferred(_over, above, below.reshape(op.batch, *shapes[1]))),
        ),
    ]
    ranks = op.rank(first), max(op.rank(first) + 1, 2)
    placed = with_forms(op.block("affine", "product", operands, layout), ranks)
    slope = PerExample(Deferred(_minus_over, above, below.reshape(op.batch, *shapes[1])))
    slopes = operands[0], replace(operands[1], weight=slope)
    changed = replace(placed.block, operands=slopes, copies=1, forms={}, convention=None)
    return replace(placed, block=replace(placed.block, forms={**placed.block.forms, DERIVATIVE: changed}))


def _inverse(y: Tensor) -> Tensor:
    return 1 / y


def _over(z: Tensor, y: Tensor) -> Tensor:
    return z / y


def _minus_over(z: Tensor, y: Tensor) -> Tensor:
    return -z / y


def _wiring(op: Op, shapes: tuple[Shape, Shape], which: int, layout: Layout) -> Wiring:
    """Return the wiring of one factor, of the shape `shapes[which]`, whose weights lie along the other one's."""
    result = layout.neurons(op.shape(op.output))
    mine, other = shapes[which], shapes[1 - which]
    if mine == other == result:
        size = op.size(op.output, layout)
        return OneToOne(size, size)
    labels = ascii_letters[: len(result)]

    def along(part: Shape) -> str:
        aligned = zip(labels[len(labels) - len(part) :], part, strict=True)
        return "".join(label for label, size in aligned if size > 1)

    sizes = dict(zip(labels, result, strict=True))
    return einsum_wiring(along(mine), along(other), labels, sizes, repeated=True)


def contracted(op: Op, first: Ref, second: Ref, alpha: float = 1) -> Placed:
    """z = alpha · x @ y of matrices, or of stacks of them, both traced."""
    ranks = len(op.shape(first)), len(op.shape(second))
    if ranks == (2, 2):
        return contraction(op, first, second, ("ri", "if", "rf"), alpha=alpha)
    if ranks == (3, 3):
        return contraction(op, first, second, ("gri", "gif", "grf"), alpha=alpha)
    op.missing(f"a product of tensors with {ranks[0]} and {ranks[1]} axes that both depend on a source")


def contraction(op: Op, first: Ref, second: Ref, labels: tuple[str, str, str], *, alpha: float = 1) -> Placed:
    """z[out] = alpha · sum of x[first] · y[second] over the labels that `out` lacks, as in torch.einsum.

    labels   of the axes of both factors and of the result, the examples' axis among them.
    Raises: `CrossExampleError` if the examples' axis of one factor is not that of the other and of the result.
    """
    layout, (mine, other, out), sizes = _for_one_example(op, first, second, labels)
    weights: Sequence[Weight] = (Partner(second.id), Partner(first.id))
    if alpha != 1:
        weights = [PerExample(Deferred(_times(alpha), op.by_example(value))) for value in (second, first)]
    operands = [
        Operand(first.id, einsum_wiring(mine, other, out, sizes), weights[0]),
        Operand(second.id, einsum_wiring(other, mine, out, sizes), weights[1]),
    ]
    ranks = op.rank(first), op.rank(second)
    return with_forms(op.block("affine", "product", operands, layout), ranks)


def _times(alpha: float) -> Callable[[Tensor], Tensor]:
    def scaled(x: Tensor) -> Tensor:
        return x * alpha

    return scaled


def _for_one_example(
    op: Op, first: Ref, second: Ref, labels: tuple[str, str, str]
) -> tuple[Layout, tuple[str, str, str], dict[str, int]]:
    """Return the result's layout, and for one example the labels of both factors and the result, with their sizes."""
    mine, other = op.layout(first), op.layout(second)
    sizes = {
        label: size
        for value, names in ((first, labels[0]), (second, labels[1]))
        for label, size in zip(names, op.shape(value), strict=True)
    }
    axis = labels[0][mine.axis]
    together = axis == labels[1][other.axis] and replace(mine, axis=other.axis) == other
    if together and axis in labels[2]:
        layout = replace(mine, axis=labels[2].index(axis))
        unused = [letter for letter in ascii_letters if letter not in "".join(labels)][:2]
        beside = dict(zip(unused, (mine.outer, mine.inner), strict=True))
        split = "".join(letter for letter, size in beside.items() if size > 1)
        first_names, second_names, out = (names.replace(axis, split) for names in labels)
        return layout, (first_names, second_names, out), sizes | beside
    if op.batch > 1:
        op.crosses(
            "it multiplies every example's entries with those of every other, as a model of images and texts does. "
            "Where one of the two is the only source, trace(sources=[...]), the other is constant"
        )
    # One example alone: any axis of size one may be its own, and its neurons are all entries in their order.
    shape = op.shape(op.output)
    whole = [Layout(dim) for dim, size in enumerate(shape) if size == 1]
    rest = Layout(0, inner=shape[0]) if shape else Layout(0)
    return whole[0] if whole else rest, labels, sizes
