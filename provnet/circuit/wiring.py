"""Which neuron feeds which: one small class a pattern of wires, all answering one question.

    wiring.source(output, slot) -> (input, present, weight)

is elementwise and written with `// % * + - < &` and look-ups only, so that the same text runs on ints, numpy arrays and
torch tensors: tiles, explicit gates, valuations, messages and grains of variables all come from it, and a GPU needs no
index copies. Where `present` is False (padding), `input` and `weight` are still valid indices and mean nothing.
`present is True` says that no slot is ever absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

Index = Any
"""An int, a numpy array or a torch tensor of integers."""


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
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

    @property
    def positions(self) -> int:
        return self.outputs // self.channels

    @property
    def disjoint(self) -> bool:
        """Whether it is certain that no two outputs share an input."""
        return False

    def output(self, position: Index, channel: Index) -> Index:
        """Return the output index of `channel` at `position`."""
        return position * self.channels + channel

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        """Return (input index, present, weight index) of one slot of one output."""
        raise NotImplementedError

    def bias(self, output: Index) -> Index:
        """Return the index of the output's bias."""
        return output

    @property
    def edges(self) -> int:
        """The number of edges of one example that the wiring knows to be present, the bias's apart."""
        return self.outputs * self.fan


@dataclass(frozen=True)
class OneToOne(Wiring):
    """Neuron i feeds neuron i: activations, scalings, views that keep the order."""

    taps: int | None = 1

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        return output + 0 * slot, True, output + 0 * slot


@dataclass(frozen=True, eq=False)
class Gather(Wiring):
    """Output k is input index[k], or nothing where index[k] is -1 (fill). `index` has one integer an output."""

    index: Any = None

    @property
    def edges(self) -> int:
        return int((self.index > -1).sum())

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        found = self.index[output] + 0 * slot
        present = found > -1
        return found * present, present, found * present


@dataclass(frozen=True)
class Expand(Wiring):
    """Output k is the one input that is broadcast to it: a tensor of the shape `part`, repeated to the shape
    `shape`."""

    shape: tuple[int, ...] = ()
    part: tuple[int, ...] = ()
    taps: int | None = None

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        found = 0 * slot
        for d, (size, step) in enumerate(zip(self.part, _strides(self.part), strict=True)):
            found = found + output // _strides(self.shape)[d] % size * step
        found = found + 0 * output
        return found, True, found


@dataclass(frozen=True)
class Scale(Wiring):
    """z_k = w_c * a_k + b_c, with the channel c = (k // inner) % size: batch norm, or a constant that is added."""

    inner: int = 1
    size: int = 1
    taps: int | None = 1

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        return output + 0 * slot, True, self.bias(output) + 0 * slot

    def bias(self, output: Index) -> Index:
        return output // self.inner % self.size


@dataclass(frozen=True)
class Dense(Wiring):
    """z[r, f] = sum_i a[r, i] * w[f, i] + b[f]: a linear layer on every row."""

    rows: int = 1
    taps: int | None = 1
    shift: int | None = 1

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        row, feature = output // self.channels, output % self.channels
        return row * self.fan + slot, True, feature * self.fan + slot

    def bias(self, output: Index) -> Index:
        return output % self.channels


def dense(rows: int, fan_in: int, fan_out: int) -> Dense:
    """Return the wiring of a linear layer that is applied to `rows` rows of `fan_in` neurons each."""
    return Dense(inputs=rows * fan_in, outputs=rows * fan_out, fan=fan_in, channels=fan_out, rows=rows)


@dataclass(frozen=True)
class Window(Wiring):
    """Pooling: output (c, y, x) is fed by the window of channel c around (y, x). Spatial axes: one, two or three.

    A slot is a place in the window, row-major. Places in the padding, or past the edge (ceil_mode), are absent.
    The weight's index is the output's place within its channel: average pooling divides by a number that depends on it.
    """

    source_shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()

    @property
    def edges(self) -> int:
        """Places in the padding are counted out axis by axis: an edge is present if it is on every axis."""
        found = self.outputs * self.fan // (prod(self.target_shape) * prod(self.kernel))
        for d in range(len(self.source_shape)):
            found *= sum(self._reached(d, tap) for tap in range(self.kernel[d]))
        return found

    def _reached(self, d: int, tap: int) -> int:
        """Return how many of the outputs along axis d find an input under a tap of their window."""
        size, step, first = self.source_shape[d], self.stride[d], tap * self.dilation[d] - self.padding[d]
        begin = max(-(first // step), 0)  # the first output o with o * step + first > -1
        end = min((size - 1 - first) // step + 1, self.target_shape[d])
        return max(end - begin, 0)

    @property
    def disjoint(self) -> bool:
        """Whether the stride steps over the whole window."""
        spans = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        return self.channels == 1 and all(span <= step for span, step in zip(spans, self.stride, strict=True))

    def place(self, output: Index, slot: Index) -> tuple[Index, Any]:
        """Return (place in the input channel, present) of a window slot at an output place."""
        found, present = 0, True
        for d, (size, step) in enumerate(zip(self.source_shape, _strides(self.source_shape), strict=True)):
            out = output // _strides(self.target_shape)[d] % self.target_shape[d]
            tap = slot // _strides(self.kernel)[d] % self.kernel[d]
            at = out * self.stride[d] + tap * self.dilation[d] - self.padding[d]
            inside = (at > -1) & (at < size)
            found = found + at * inside * step
            present = present & inside
        return found, present

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        area = prod(self.target_shape)
        found, present = self.place(output % area, slot)
        return output // area * prod(self.source_shape) + found, present, output % area + 0 * slot


def window(
    channels: int,
    source_shape: tuple[int, ...],
    target_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Window:
    """Return the wiring of a pooling over `channels` channels with the given spatial geometry."""
    return Window(
        inputs=channels * prod(source_shape),
        outputs=channels * prod(target_shape),
        fan=prod(kernel),
        taps=prod(kernel),
        source_shape=source_shape,
        target_shape=target_shape,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


@dataclass(frozen=True)
class AdaptiveWindow(Wiring):
    """Adaptive pooling: output place o of n covers the inputs from floor(o * m / n) to ceil((o + 1) * m / n) of m."""

    source_shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()

    @property
    def edges(self) -> int:
        found = self.outputs // prod(self.target_shape)
        for m, n in zip(self.source_shape, self.target_shape, strict=True):
            found *= sum(((o + 1) * m + n - 1) // n - o * m // n for o in range(n))
        return found

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        area = prod(self.target_shape)
        place, found, present = output % area, 0, True
        for d, (size, step) in enumerate(zip(self.source_shape, _strides(self.source_shape), strict=True)):
            target = self.target_shape[d]
            out = place // _strides(self.target_shape)[d] % target
            tap = slot // _strides(self.kernel)[d] % self.kernel[d]
            at = out * size // target + tap
            inside = at < ((out + 1) * size + target - 1) // target
            found = found + at * inside * step
            present = present & inside
        return output // area * prod(self.source_shape) + found, present, place + 0 * slot


def adaptive_window(channels: int, source_shape: tuple[int, ...], target_shape: tuple[int, ...]) -> AdaptiveWindow:
    """Return the wiring of an adaptive pooling. Its kernel is the largest window, which other places do not fill."""
    kernel = tuple(
        max(((o + 1) * m + n - 1) // n - o * m // n for o in range(n))
        for m, n in zip(source_shape, target_shape, strict=True)
    )
    return AdaptiveWindow(
        inputs=channels * prod(source_shape),
        outputs=channels * prod(target_shape),
        fan=prod(kernel),
        # Where there are more outputs than inputs, two windows may start at the same place.
        taps=prod(kernel) if all(n <= m for m, n in zip(source_shape, target_shape, strict=True)) else None,
        source_shape=source_shape,
        target_shape=target_shape,
        kernel=kernel,
    )


@dataclass(frozen=True)
class Convolution(Window):
    """z[c, y, x] = sum over the group's input channels and the kernel of a * w[c, i, ky, kx] + b[c].

    A slot is (input channel of the group, place in the kernel), as in the weight's own order.
    """

    def output(self, position: Index, channel: Index) -> Index:
        area = prod(self.target_shape)
        return (position // area * self.channels + channel) * area + position % area

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        area, taps = prod(self.target_shape), prod(self.kernel)
        channel = output // area
        found, present = self.place(output % area, slot % taps)
        channel_in = channel // self.channels * (self.fan // taps) + slot // taps
        return channel_in * prod(self.source_shape) + found, present, channel * self.fan + slot

    def bias(self, output: Index) -> Index:
        return output // prod(self.target_shape)


def convolution(
    channels_in: int,
    channels_out: int,
    groups: int,
    source_shape: tuple[int, ...],
    target_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Convolution:
    """Return the wiring of a convolution with one to three spatial axes."""
    return Convolution(
        inputs=channels_in * prod(source_shape),
        outputs=channels_out * prod(target_shape),
        fan=channels_in // groups * prod(kernel),
        channels=channels_out // groups,
        groups=groups,
        taps=prod(kernel),
        shift=prod(source_shape),
        source_shape=source_shape,
        target_shape=target_shape,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


@dataclass(frozen=True)
class Broadcast(Wiring):
    """z = x_0 + x_1 with broadcasting: slot s is input s. The weight's index is the slot.

    `shape` is the output's; `steps[s]` are input s's strides over it, 0 on axes along which it is repeated.
    """

    shape: tuple[int, ...] = ()
    steps: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    offset: int = 0

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        found = 0 * output + slot * self.offset
        for d, size in enumerate(self.shape):
            first, second = self.steps[0][d], self.steps[1][d]
            found = found + output // _strides(self.shape)[d] % size * (first + slot * (second - first))
        return found, True, 0 * output + slot


def broadcast(shape: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...]) -> Broadcast:
    """Return the wiring of a sum of two tensors of the shapes `first` and `second`, which broadcast to `shape`."""

    def steps(part: tuple[int, ...]) -> tuple[int, ...]:
        aligned = (1,) * (len(shape) - len(part)) + part
        return tuple(0 if size == 1 else step for size, step in zip(aligned, _strides(aligned), strict=True))

    return Broadcast(
        inputs=prod(first) + prod(second),
        outputs=prod(shape),
        fan=2,
        taps=2 if prod(first) == prod(second) == prod(shape) else None,
        shape=shape,
        steps=(steps(first), steps(second)),
        offset=prod(first),
    )


@dataclass(frozen=True)
class Reduction(Wiring):
    """z = sum or mean of x over `dims`: the slots run over the reduced axes, row-major. All weights are one number."""

    shape: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()
    taps: int | None = 1

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        found, kept_left, dims_left = 0 * output + 0 * slot, output, slot
        for d in reversed(range(len(self.shape))):
            size, step = self.shape[d], _strides(self.shape)[d]
            if d in self.dims:
                found, dims_left = found + dims_left % size * step, dims_left // size
            else:
                found, kept_left = found + kept_left % size * step, kept_left // size
        return found, True, 0 * output + 0 * slot


def reduction(shape: tuple[int, ...], dims: tuple[int, ...]) -> Reduction:
    """Return the wiring of a sum over `dims` of a tensor of the shape `shape` (both without the examples' axis)."""
    fan = prod(shape[d] for d in dims)
    return Reduction(inputs=prod(shape), outputs=prod(shape) // max(fan, 1), fan=fan, shape=shape, dims=dims)
