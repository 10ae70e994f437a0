"""A product with weights of each example's own, seen as one map whose groups are the examples: what contractions know.

A batch of matrix products x[e] @ w[e] is one convolution with a kernel of one place, a single example and a group for
each e. So every route for dense layers and convolutions serves the products of two traced tensors too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from math import prod
from weakref import WeakKeyDictionary

from torch import Tensor

from provnet.circuit.einsums import Einsum
from provnet.circuit.weights import Stored
from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import Wiring
from provnet.torch_backend.blocks.prepared import Prepared


@dataclass(frozen=True, eq=False)
class _Axes:
    """A tensor's labels, in its own order and in that of the map; `Z` is the label of the examples."""

    own: str
    shape: tuple[int, ...]
    order: tuple[int, ...]

    def forth(self, x: Tensor) -> Tensor:
        """Return rows [batch, size] in the map's order, [1, batch * size]."""
        return x.reshape(len(x), *self.shape).permute(self.order).reshape(1, -1)

    def back(self, x: Tensor, batch: int) -> Tensor:
        """Return [1, batch * size] as rows again."""
        wide = (batch, *self.shape)
        inverse = sorted(range(len(self.order)), key=lambda d: self.order[d])
        return x.reshape([wide[d] for d in self.order]).permute(inverse).reshape(batch, -1)


@dataclass(frozen=True, eq=False)
class Grouped:
    """An operand as a map of one example, and the ways between the two orders of neurons."""

    prepared: Prepared
    batch: int
    near: _Axes
    far: _Axes

    def outputs(self, x: Tensor) -> Tensor:
        """Return what stands at outputs, [batch, outputs], in the map's order."""
        return self.far.forth(x)

    def outputs_back(self, x: Tensor) -> Tensor:
        """Return what stands at the map's outputs as [batch, outputs]."""
        return self.far.back(x, self.batch)

    def inputs(self, x: Tensor) -> Tensor:
        """Return what stands at the map's inputs as [batch, inputs]."""
        return self.near.back(x, self.batch)


_MADE: WeakKeyDictionary[Prepared, Grouped | None] = WeakKeyDictionary()
"""What was made of operands that are still alive: every route that is tried asks, and numbers are copied."""


def grouped(part: Prepared) -> Grouped | None:
    """Return an operand of a contraction as one map of groups; None where it is none, or shares its weights."""
    if part not in _MADE:
        _MADE[part] = _made(part)
    return _MADE[part]


def _made(part: Prepared) -> Grouped | None:
    contraction = _contraction(part.block.wiring) if part.block.weight_by_example else None
    if contraction is None or (part.b is not None and part.batch > 1):
        return None  # what a bias took would be that of all examples together
    wiring, (both, rows, columns, summed) = contraction
    near = _axes(wiring, wiring.input, both + summed + rows)
    far = _axes(wiring, wiring.output_labels, both + columns + rows)
    bank = _axes(wiring, wiring.weight, both + columns + summed)
    size = {
        name: prod(wiring.size[label] for label in labels)
        for name, labels in (("groups", both), ("places", rows), ("far", columns), ("near", summed))
    }
    if part.b is not None and size["places"] > 1:
        return None  # a convolution's places share their bias
    groups, places = part.batch * size["groups"], (size["places"],)
    one = (1,)
    shape = convolution(groups * size["near"], groups * size["far"], groups, places, places, one, one, (0,), one)
    assert part.w is not None, "weights that differ by example are there"
    weight = bank.forth(part.w).reshape(-1)
    operand = replace(part.block.operands[0], wiring=shape, weight=Stored(weight))
    padding = None if part.padding is None else near.forth(part.padding.expand(part.batch, -1))[0]
    weight_padding = (
        None if part.weight_padding is None else bank.forth(part.weight_padding.expand(part.batch, -1)).reshape(-1)
    )
    prepared = replace(
        part,
        block=replace(part.block, operands=(operand,), bias_by_example=False),
        padding=padding,
        weight_padding=weight_padding,
        a=tuple(near.forth(a) for a in part.a),
        w=weight,
        b=None if part.b is None else far.forth(part.b.reshape(1, -1))[0],
        z=tuple(far.forth(z.expand(part.batch, z.shape[1])) for z in part.z),
    )
    return Grouped(prepared, part.batch, near, far)


@singledispatch
def _contraction(wiring: Wiring) -> tuple[Einsum, tuple[str, ...]] | None:
    """Return a wiring by labels, and the labels of groups, of places, of outputs' and of inputs' channels; None if it
    is no contraction."""
    return None


@_contraction.register
def _(wiring: Einsum) -> tuple[Einsum, tuple[str, ...]] | None:
    inside = {
        name: set(labels) for name, labels in (("a", wiring.input), ("w", wiring.weight), ("z", wiring.output_labels))
    }
    found: dict[tuple[bool, bool, bool], str] = {}
    for label, size in wiring.sizes:
        if size == 1:
            continue
        key = (label in inside["a"], label in inside["w"], label in inside["z"])
        found[key] = found.get(key, "") + label
    groups, places = (True, True, True), (True, False, True)
    columns, summed = (False, True, True), (True, True, False)
    if summed not in found or set(found) - {groups, places, columns, summed}:
        return None
    return wiring, tuple(found.get(key, "") for key in (groups, places, columns, summed))


def _axes(wiring: Einsum, own: str, wanted: str) -> _Axes:
    """Return how a tensor along the labels `own` is brought into the order `wanted`; axes of size one go last."""
    order = [own.index(label) + 1 for label in wanted]
    rest = [d + 1 for d, label in enumerate(own) if label not in wanted]
    return _Axes(own, tuple(wiring.size[label] for label in own), (0, *order, *rest))
