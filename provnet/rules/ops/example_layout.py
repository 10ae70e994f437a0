"""Where a recorded tensor holds its examples, and where they are after a view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Order:
    """Which indices of an axis belong to each example, where no formula says it: rows sorted by expert, sequences that
    are packed.

    index   [batch, rows] int64, rows ascending; -1 at the end of an example that has fewer rows than another.
    size    of the axis. Indices that the table lacks are constants of no example: no neurons.
    """

    index: np.ndarray
    size: int

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Order) and self.size == other.size and np.array_equal(self.index, other.index)

    def __hash__(self) -> int:
        return hash(self.index.tobytes())

    @cached_property
    def owner(self) -> np.ndarray:
        """The example of each index of the axis, -1 where it has none."""
        found, own = np.full(self.size, -1), self.index > -1
        found[self.index[own]] = own.nonzero()[0]
        return found

    @cached_property
    def filled(self) -> Tensor:
        """The table, flat, with another row of the axis in place of each that is none: its values are consistent."""
        return torch.from_numpy(np.where(self.index < 0, np.maximum(self.index[:, :1], 0), self.index).reshape(-1))

    @cached_property
    def missing(self) -> Tensor:
        """Where the table has no row, [batch, rows]."""
        return torch.from_numpy(self.index < 0)

    def times(self, inner: int) -> Order:
        """Return the table of an axis that was merged with `inner` entries behind it."""
        wide = self.index[:, :, None] * inner + np.arange(inner)
        return Order(np.where(self.index[:, :, None] < 0, -1, wide).reshape(len(self.index), -1), self.size * inner)

    def parted(self, inner: int) -> Order | None:
        """Return the table of an axis whose `inner` last entries became an axis, None if these are no example's own."""
        if self.index.shape[1] % inner or self.size % inner:
            return None
        first = self.index.reshape(len(self.index), -1, inner)[:, :, 0]
        found = Order(np.where(first < 0, -1, first // inner), self.size // inner)
        return found if found.times(inner) == self else None

    def repeated(self, outer: int) -> Order:
        """Return the table of an axis that was merged with `outer` entries before it."""
        rows = self.index[:, None, :] + self.size * np.arange(outer)[:, None]
        found = np.where(self.index[:, None, :] < 0, -1, rows).reshape(len(self.index), -1)
        return Order(found, self.size * outer)

    def once(self, outer: int) -> Order | None:
        """Return the table of an axis whose first `outer` parts became an axis, None if rows do not repeat so."""
        if self.index.shape[1] % outer or self.size % outer:
            return None
        found = Order(self.index[:, : self.index.shape[1] // outer], self.size // outer)
        return found if found.repeated(outer) == self else None


@dataclass(frozen=True)
class Layout:
    """Index i on `axis`, of size outer * batch * inner, belongs to example (i // inner) % batch.

    `inner` is above one where a view merged the batch with what lies behind it ([B, T, C] as [B*T, C]), `outer` where
    it merged it with what lies before it ([T, B, C] as [T*B, C]). Where examples lie in no such order, `order` lists
    them, and `inner` is the number of rows of the example that has the most.
    """

    axis: int = 0
    outer: int = 1
    inner: int = 1
    order: Order | None = None

    @property
    def plain(self) -> bool:
        """Whether the axis carries examples and nothing else."""
        return self.outer == self.inner == 1 and self.order is None

    @property
    def merged(self) -> Shape:
        """What the axis carries beside the examples, as axes."""
        return tuple(size for size in (self.outer, self.inner) if size > 1)

    @property
    def rows(self) -> int:
        """How many indices of the axis belong to one example."""
        return self.outer * self.inner

    def fits(self, shape: Shape, batch: int) -> bool:
        """Return whether a tensor of this shape can be laid out so. A number without axes is one example's."""
        if not shape:
            return batch == 1 and self.plain
        if self.order is not None:
            return self.axis < len(shape) and shape[self.axis] == self.order.size and batch == len(self.order.index)
        return self.axis < len(shape) and shape[self.axis] == self.outer * batch * self.inner

    def neurons(self, shape: Shape) -> Shape:
        """Return the shape of one example of a tensor of the shape `shape`."""
        return (*shape[: self.axis], *self.merged, *shape[self.axis + 1 :])

    def shape_for(self, shape: Shape, batch: int) -> Shape:
        """Return the shape that a tensor of the shape `shape` has in a batch of another size."""
        if self.order is not None:  # it holds for its own batch only
            return shape
        return (*shape[: self.axis], self.outer * batch * self.inner, *shape[self.axis + 1 :])

    def place(self, dim: int) -> int:
        """Return which axis of one example the tensor's axis `dim` is. The examples' own axis has no place."""
        return dim if dim < self.axis else dim - 1 + len(self.merged)

    def split(self, tensor: Tensor, batch: int) -> tuple[Tensor, int]:
        """Return a view of the tensor in which the axis carries batch * inner only, and that axis."""
        if tensor.dim() == 0:
            return tensor.reshape(1), 0
        if self.order is not None:
            return self.sorted(tensor), self.axis
        if self.outer == 1:
            return tensor, self.axis
        return tensor.unflatten(self.axis, (self.outer, batch * self.inner)), self.axis + 1

    def by_example(self, tensor: Tensor, batch: int) -> Tensor:
        """Return the tensor as [batch, *neurons]."""
        shape = (batch, *self.neurons(tuple(tensor.shape)))
        if tensor.dim() == 0:
            return tensor.reshape(shape)
        if self.order is not None:
            tensor = self.sorted(tensor)
        return tensor.unflatten(self.axis, (self.outer, batch, self.inner)).movedim(self.axis + 1, 0).reshape(shape)

    def sorted(self, tensor: Tensor) -> Tensor:
        """Return a tensor with the axis in the order of the examples, a row in place of each that is none."""
        assert self.order is not None
        return tensor.index_select(self.axis, self.order.filled.to(tensor.device))

    def numbers_by_example(self, numbers: Tensor, batch: int, fill: int) -> Tensor:
        """Return whole numbers as [batch, neurons], with `fill` where an example has fewer rows than another."""
        rows = self.by_example(numbers, batch)
        if self.order is not None:
            at = [1] * rows.dim()
            at[0] = batch
            if self.inner > 1:
                at[1 + self.axis] = self.inner
            rows = rows.masked_fill(self.order.missing.reshape(at), fill)
        return rows.reshape(batch, -1)

    def from_example(self, tensor: Tensor, batch: int) -> Tensor:
        """Return [batch, *neurons] in this layout: the inverse of `by_example`."""
        before, after = tensor.shape[1 : 1 + self.axis], tensor.shape[1 + self.axis + len(self.merged) :]
        split = tensor.reshape(batch, *before, self.outer, self.inner, *after).movedim(0, self.axis + 1)
        return split.flatten(self.axis, self.axis + 2)


def view_layout(layout: Layout, before: Shape, after: Shape, batch: int) -> Layout | None:
    """Return where the examples are when a tensor of the shape `before` is read as one of the shape `after`.

    A view keeps the row-major order, so the example is a digit of the flat index in both shapes: with the same step,
    and within one axis or else it has no layout (None). In a batch of one several axes of size one are as good; the
    plain and the nearest is taken.
    """
    if layout.order is not None:
        return _ordered_view(layout, before, after)
    step = layout.inner * prod(before[layout.axis + 1 :])
    found = []
    for axis, size in enumerate(after):
        tail = prod(after[axis + 1 :])
        if step % tail == 0 and size * tail % (step * batch) == 0:
            found.append(Layout(axis, outer=size * tail // (step * batch), inner=step // tail))
    plain = [one for one in found if one.plain]
    if plain:
        return min(plain, key=lambda one: abs(one.axis - layout.axis))
    if not found and batch == 1:
        return one_example(after)
    return found[0] if found else None


def _ordered_view(layout: Layout, before: Shape, after: Shape) -> Layout | None:
    """Return where a view has the rows of a table: on an axis of the same entries, merged with others or parted."""
    assert layout.order is not None
    order, step, size = layout.order, prod(before[layout.axis + 1 :]), before[layout.axis]
    for axis, count in enumerate(after):
        tail, found = prod(after[axis + 1 :]), None
        if count * tail == size * step:
            found = order.times(step // tail) if step % tail == 0 else None
            if tail > step and tail % step == 0:
                found = order.parted(tail // step)
        elif tail == step and count > size and count % size == 0:
            found = order.repeated(count // size)
        elif tail == step and size % count == 0:
            found = order.once(size // count)
        if found is not None:
            return by_table(axis, found)
    return None


def table_of(owner: np.ndarray, batch: int) -> Order:
    """Return the table of an axis from the example of each of its indices, -1 where it has none."""
    rows = [np.flatnonzero(owner == number) for number in range(batch)]
    index = np.full((batch, max(map(len, rows))), -1, np.int64)
    for number, own in enumerate(rows):
        index[number, : len(own)] = own
    return Order(index, len(owner))


def by_table(axis: int, order: Order) -> Layout:
    """Return the layout in which a table says which indices of an axis belong to each example."""
    return Layout(axis, inner=order.index.shape[1], order=order)


def one_example(shape: Shape) -> Layout:
    """Return a layout of a tensor that holds one example: on its first axis of size one, else merged with the first."""
    if 1 in shape or not shape:
        return Layout(shape.index(1) if shape else 0)
    return Layout(0, inner=shape[0])


def layouts(shape: Shape, batch: int) -> Iterator[Layout]:
    """Yield every layout that a tensor of this shape could have, the plain ones first."""
    whole = [axis for axis, size in enumerate(shape) if size == batch]
    yield from (Layout(axis) for axis in whole)
    for axis, size in enumerate(shape):
        rows = size // batch
        if size % batch == 0 and rows > 1:
            yield from (Layout(axis, rows // inner, inner) for inner in range(rows, 0, -1) if rows % inner == 0)
