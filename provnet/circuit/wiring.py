"""Which neuron feeds which: one small class a pattern of wires, all answering one question.

    wiring.source(output, slot) -> (input, present, weight)

is elementwise and written with `// % * + - < &` and look-ups only, so that the same text runs on ints, numpy arrays and
torch tensors: tiles, explicit gates, valuations, messages and grains of variables all come from it, and a GPU needs no
index copies. Where `present` is False (padding), `input` and `weight` are still valid indices and mean nothing.
`present is True` says that no slot is ever absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

Index = Any
"""An int, a numpy array or a torch tensor of integers."""


def strides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


@dataclass(frozen=True)
class Wiring:
    """The base: `outputs` neurons with `fan` slots each (the bias apart), over `inputs` neurons.

    Outputs are grouped: `positions * channels == outputs`, and the channels of one position share their sources.
    With more than one channel, the weight's index depends on the position only through its group (position * groups //
    positions).
    `taps`: slots that are congruent modulo `taps` reach distinct inputs over all positions (so they can be scattered
    without collision); None where nothing is promised. `shift`: slot i * taps + t reads the input that stands i * shift
    behind slot t's, with a weight i * taps behind; so only the first `taps` slots need arithmetic. None: not promised.
    """

    inputs: int
    outputs: int

    fan: int = 1
    channels: int = 1
    groups: int = 1
    taps: int | None = None
    shift: int | None = None

    by_example: ClassVar[bool] = False
    """Whether it differs from example to example: then only the wiring of one example has a `source`."""

    identity: ClassVar[bool] = False
    """Whether neuron i feeds neuron i, and nothing else."""

    in_place: ClassVar[bool] = False
    """Whether neuron i feeds neuron i, and nothing else, by a weight that has the number of its bias."""

    unit: ClassVar[bool] = False
    """Whether its edges may be unit edges."""

    selects: ClassVar[bool] = False
    """Whether one slot of a neuron may win over the others."""

    channel_axis: ClassVar[int | None] = None
    """Which axis of an example's output has the channels whose weights and biases are their own: the first, 0, or the
    last, -1. None: the wiring knows none."""

    @property
    def positions(self) -> int:
        return self.outputs // self.channels

    @property
    def disjoint(self) -> bool:
        """Whether it is certain that no two outputs share an input."""
        return False

    @property
    def feeds_all(self) -> bool:
        """Whether it is certain, without a look-up, that every output has a source."""
        return self.identity

    def output(self, position: Index, channel: Index) -> Index:
        """Return the output index of `channel` at `position`."""
        return position * self.channels + channel

    def by_position(self, values: Any) -> Any:
        """Return what stands at outputs, an array [outputs], as [positions, channels]."""
        return values.reshape(self.positions, self.channels)

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        """Return (input index, present, weight index) of one slot of one output."""
        raise NotImplementedError

    def bias(self, output: Index) -> Index:
        """Return the index of the output's bias."""
        return output

    def feeding(self, output: Index) -> Index:
        """Return the input of each output of unit edges, -1 where there is none: [..., outputs], with an axis of
        examples before where these differ."""
        found, present, _ = self.source(output, 0 * output)
        return (found + 1) * present - 1

    def channel(self, output: Index) -> Index | None:
        """Return the channel of each output; None: it is the first axis of the recorded tensor."""
        return None

    def channel_in(self, output: Index, slot: Index, source: Index) -> Index | None:
        """Return the channel of the input of each edge; None: it is the first axis of the recorded tensor."""
        return None

    def of_example(self, example: int) -> Wiring:
        """Return the wiring of one example: itself, if all share it."""
        return self

    def with_tables(self, convert: Callable[[Any], Any]) -> Self:
        """Return the wiring with each table of indices replaced: look-ups by tensors want tables that are tensors."""
        return self

    def cut(self, sizes: Sequence[int]) -> list[Wiring] | None:
        """Return a wiring for each of several inputs that stand one after the other; None: it cannot be cut apart."""
        return None

    @property
    def edges(self) -> int:
        """The number of edges of one example that the wiring knows to be present, the bias's apart."""
        return self.outputs * self.fan


@dataclass(frozen=True)
class OneToOne(Wiring):
    """Neuron i feeds neuron i: activations, scalings, views that keep the order."""

    taps: int | None = 1

    identity: ClassVar[bool] = True
    in_place: ClassVar[bool] = True
    unit: ClassVar[bool] = True

    def cut(self, sizes: Sequence[int]) -> list[Wiring]:
        every = Gather(self.inputs, self.outputs, taps=1, index=np.arange(self.outputs))
        return every.cut(sizes)

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        return output + 0 * slot, True, output + 0 * slot


@dataclass(frozen=True, eq=False)
class IndexTable(Wiring):
    """The base of wirings that are a table of indices: output k is input index[..., k], nothing where that is -1."""

    index: Any = None

    unit: ClassVar[bool] = True

    def with_tables(self, convert: Callable[[Any], Any]) -> Self:
        return replace(self, index=convert(self.index))

    def cut(self, sizes: Sequence[int]) -> list[Wiring]:
        found, first = [], 0
        for size in sizes:
            mine = (self.index > first - 1) & (self.index < first + size)
            found.append(replace(self, inputs=size, index=np.where(mine, self.index - first, -1)))
            first += size
        return found


@dataclass(frozen=True, eq=False)
class Gather(IndexTable):
    """Output k is input index[k], or nothing where index[k] is -1 (fill). `index` has one integer an output."""

    @property
    def edges(self) -> int:
        return int((self.index > -1).sum())

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        found = self.index[output] + 0 * slot
        present = found > -1
        return found * present, present, found * present


@dataclass(frozen=True, eq=False)
class GatherByExample(IndexTable):
    """Output k of example b is input index[b, k], or nothing where that is -1: masks, lengths, what a sort chose.

    It is a table of `Gather`s, `of_example(example)` each, of the shape [batch, outputs]. It has no `source` of its
    own: which input an output has is not known without the example.
    """

    by_example: ClassVar[bool] = True

    @property
    def edges(self) -> int:
        """The number of edges of the example that has the most."""
        return int((self.index > -1).sum(1).max())

    def feeding(self, output: Index) -> Index:
        return self.index[:, output]

    def of_example(self, example: int) -> Gather:
        return Gather(self.inputs, self.outputs, taps=self.taps, index=self.index[example])

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        raise TypeError("this wiring differs from example to example: ask the wiring of one example")


@dataclass(frozen=True)
class Expand(Wiring):
    """Output k is the one input that is broadcast to it: a tensor of the shape `part`, repeated to the shape
    `shape`."""

    shape: tuple[int, ...] = ()
    part: tuple[int, ...] = ()
    taps: int | None = None

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        found = 0 * slot
        for d, (size, step) in enumerate(zip(self.part, strides_of(self.part), strict=True)):
            found = found + output // strides_of(self.shape)[d] % size * step
        found = found + 0 * output
        return found, True, found


@dataclass(frozen=True)
class Scale(Wiring):
    """z_k = w_c * a_k + b_c, with the channel c = (k // inner) % size: batch norm, or a constant that is added."""

    inner: int = 1
    size: int = 1
    taps: int | None = 1

    in_place: ClassVar[bool] = True

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        return output + 0 * slot, True, self.bias(output) + 0 * slot

    def bias(self, output: Index) -> Index:
        return output // self.inner % self.size

    def channel(self, output: Index) -> Index:
        return self.bias(output)

    def channel_in(self, output: Index, slot: Index, source: Index) -> Index:
        return self.bias(output)


@dataclass(frozen=True)
class Dense(Wiring):
    """z[r, f] = sum_i a[r, i] * w[f, i] + b[f]: a linear layer on every row."""

    rows: int = 1
    taps: int | None = 1
    shift: int | None = 1

    channel_axis: ClassVar[int | None] = -1

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        row, feature = output // self.channels, output % self.channels
        return row * self.fan + slot, True, feature * self.fan + slot

    def bias(self, output: Index) -> Index:
        return output % self.channels

    def channel(self, output: Index) -> Index:
        return output % self.channels

    def channel_in(self, output: Index, slot: Index, source: Index) -> Index:
        return slot

    def cut(self, sizes: Sequence[int]) -> list[Wiring] | None:
        return [dense(1, size, self.channels) for size in sizes] if self.rows == 1 else None


def dense(rows: int, fan_in: int, fan_out: int) -> Dense:
    """Return the wiring of a linear layer that is applied to `rows` rows of `fan_in` neurons each."""
    return Dense(inputs=rows * fan_in, outputs=rows * fan_out, fan=fan_in, channels=fan_out, rows=rows)


@dataclass(frozen=True)
class Part(Wiring):
    """A concatenation's part: output (o, i) is input (o, i - first) where that lies within `size`, of rows of `width`
    entries, else nothing. Entries behind the axis are counted in `size`, `first` and `width`.
    """

    first: int = 0
    size: int = 1
    width: int = 1
    taps: int | None = 1

    unit: ClassVar[bool] = True

    @property
    def feeds_all(self) -> bool:
        return self.first == 0 and self.size == self.width

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        at = output % self.width - self.first + 0 * slot
        present = (at > -1) & (at < self.size)
        found = (output // self.width * self.size + at) * present
        return found, present, found

    @property
    def edges(self) -> int:
        return self.inputs


@dataclass(frozen=True)
class SideBySide(Wiring):
    """The slots of several wirings, one after the other, over their inputs, one after the other.

    It serves look-ups (gates, messages, variables); routes go through a block operand by operand.
    """

    parts: tuple[Wiring, ...] = ()

    @property
    def by_example(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return any(part.by_example for part in self.parts)

    def of_example(self, example: int) -> SideBySide:
        return side_by_side(tuple(part.of_example(example) for part in self.parts)) if self.by_example else self

    def with_tables(self, convert: Callable[[Any], Any]) -> Self:
        return replace(self, parts=tuple(part.with_tables(convert) for part in self.parts))

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        found, present, weight = 0 * output + 0 * slot, 0 * output + 0 * slot < 0, 0 * output + 0 * slot
        start, offset = 0, 0
        for part in self.parts:
            mine = (slot > start - 1) & (slot < start + part.fan)
            at, here, w = part.source(output, (slot - start) * mine)
            found = found + (at + offset) * mine
            weight = weight + w * mine
            present = present | (mine & here)
            start, offset = start + part.fan, offset + part.inputs
        return found * present, present, weight

    def bias(self, output: Index) -> Index:
        return self.parts[-1].bias(output)

    @property
    def edges(self) -> int:
        return sum(part.edges for part in self.parts)


def side_by_side(parts: tuple[Wiring, ...]) -> SideBySide:
    """Return the wiring of several operands. Raises: `ValueError` if they do not have the same outputs."""
    if len({part.outputs for part in parts}) != 1:
        raise ValueError(f"operands of one block feed {[part.outputs for part in parts]} outputs")
    return SideBySide(
        inputs=sum(part.inputs for part in parts),
        outputs=parts[0].outputs,
        fan=sum(part.fan for part in parts),
        parts=parts,
    )


@dataclass(frozen=True)
class Reduction(Wiring):
    """z = sum or mean of x over `dims`: the slots run over the reduced axes, row-major. All weights are one number."""

    shape: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()
    taps: int | None = 1

    selects: ClassVar[bool] = True

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        found, kept_left, dims_left = 0 * output + 0 * slot, output, slot
        for d in reversed(range(len(self.shape))):
            size, step = self.shape[d], strides_of(self.shape)[d]
            if d in self.dims:
                found, dims_left = found + dims_left % size * step, dims_left // size
            else:
                found, kept_left = found + kept_left % size * step, kept_left // size
        return found, True, 0 * output + 0 * slot


def reduction(shape: tuple[int, ...], dims: tuple[int, ...]) -> Reduction:
    """Return the wiring of a sum over `dims` of a tensor of the shape `shape` (both without the examples' axis)."""
    fan = prod(shape[d] for d in dims)
    return Reduction(inputs=prod(shape), outputs=prod(shape) // max(fan, 1), fan=fan, shape=shape, dims=dims)
