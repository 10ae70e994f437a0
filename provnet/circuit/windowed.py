"""Wirings of windows over images: poolings, convolutions, and windows whose size depends on the place."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from provnet.circuit.wiring import Index, Wiring, strides_of


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

    selects: ClassVar[bool] = True

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
        for d, (size, step) in enumerate(zip(self.source_shape, strides_of(self.source_shape), strict=True)):
            out = output // strides_of(self.target_shape)[d] % self.target_shape[d]
            tap = slot // strides_of(self.kernel)[d] % self.kernel[d]
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

    selects: ClassVar[bool] = True

    @property
    def edges(self) -> int:
        found = self.outputs // prod(self.target_shape)
        for m, n in zip(self.source_shape, self.target_shape, strict=True):
            found *= sum(((o + 1) * m + n - 1) // n - o * m // n for o in range(n))
        return found

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        area = prod(self.target_shape)
        place, found, present = output % area, 0, True
        for d, (size, step) in enumerate(zip(self.source_shape, strides_of(self.source_shape), strict=True)):
            target = self.target_shape[d]
            out = place // strides_of(self.target_shape)[d] % target
            tap = slot // strides_of(self.kernel)[d] % self.kernel[d]
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

    selects: ClassVar[bool] = False
    channel_axis: ClassVar[int | None] = 0

    def output(self, position: Index, channel: Index) -> Index:
        area = prod(self.target_shape)
        return (position // area * self.channels + channel) * area + position % area

    def by_position(self, values: Any) -> Any:
        area = prod(self.target_shape)
        return values.reshape(self.groups, self.channels, area).swapaxes(1, 2).reshape(-1, self.channels)

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        area, taps = prod(self.target_shape), prod(self.kernel)
        channel = output // area
        found, present = self.place(output % area, slot % taps)
        channel_in = channel // self.channels * (self.fan // taps) + slot // taps
        return channel_in * prod(self.source_shape) + found, present, channel * self.fan + slot

    def bias(self, output: Index) -> Index:
        return output // prod(self.target_shape)

    def channel_in(self, output: Index, slot: Index, source: Index) -> Index:
        return source // prod(self.source_shape)


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
