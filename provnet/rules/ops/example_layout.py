"""Where a recorded tensor holds its examples, and where they are after a view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Index i on `axis`, of size outer * batch * inner, belongs to example (i // inner) % batch.

    `inner` is above one where a view merged the batch with what lies behind it ([B, T, C] as [B*T, C]), `outer` where
    it merged it with what lies before it ([T, B, C] as [T*B, C]).
    """

    axis: int = 0
    outer: int = 1
    inner: int = 1

    @property
    def plain(self) -> bool:
        """Whether the axis carries examples and nothing else."""
        return self.outer == self.inner == 1

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
        return self.axis < len(shape) and shape[self.axis] == self.outer * batch * self.inner

    def neurons(self, shape: Shape) -> Shape:
        """Return the shape of one example of a tensor of the shape `shape`."""
        return (*shape[: self.axis], *self.merged, *shape[self.axis + 1 :])

    def shape_for(self, shape: Shape, batch: int) -> Shape:
        """Return the shape that a tensor of the shape `shape` has in a batch of another size."""
        return (*shape[: self.axis], self.outer * batch * self.inner, *shape[self.axis + 1 :])

    def place(self, dim: int) -> int:
        """Return which axis of one example the tensor's axis `dim` is. The examples' own axis has no place."""
        return dim if dim < self.axis else dim - 1 + len(self.merged)

    def split(self, tensor: Tensor, batch: int) -> tuple[Tensor, int]:
        """Return a view of the tensor in which the axis carries batch * inner only, and that axis."""
        if tensor.dim() == 0:
            return tensor.reshape(1), 0
        if self.outer == 1:
            return tensor, self.axis
        return tensor.unflatten(self.axis, (self.outer, batch * self.inner)), self.axis + 1

    def by_example(self, tensor: Tensor, batch: int) -> Tensor:
        """Return the tensor as [batch, *neurons]."""
        shape = (batch, *self.neurons(tuple(tensor.shape)))
        if tensor.dim() == 0:
            return tensor.reshape(shape)
        return tensor.unflatten(self.axis, (self.outer, batch, self.inner)).movedim(self.axis + 1, 0).reshape(shape)

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
