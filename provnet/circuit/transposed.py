"""The wiring of a transposed convolution: each input is spread over a window, and windows that overlap add up."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from provnet.circuit.wiring import Index, Wiring


def _step(shape: tuple[int, ...], axis: int) -> int:
    return prod(shape[axis + 1 :])


@dataclass(frozen=True)
class TransposedConvolution(Wiring):
    """z[c, y, x] = sum over the group's input channels and the kernel of a * w[c, i, ky, kx] + b[c].

    An input at place p reaches the output places p * stride + tap * dilation - padding, on every axis. A slot is (input
    channel of the group, place in the kernel); it is absent where no input reaches the output by that tap. Weights lie
    as a convolution's, [outputs' channels, a group's input channels, *kernel].
    """

    source_shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()

    @property
    def edges(self) -> int:
        """An edge is present if it is on every axis, so axes are counted apart."""
        found = self.groups * self.channels * self.fan // prod(self.kernel)
        for axis, (size, target) in enumerate(zip(self.source_shape, self.target_shape, strict=True)):
            firsts = (tap * self.dilation[axis] - self.padding[axis] for tap in range(self.kernel[axis]))
            found *= sum(-1 < first + p * self.stride[axis] < target for first in firsts for p in range(size))
        return found

    def output(self, position: Index, channel: Index) -> Index:
        area = prod(self.target_shape)
        return (position // area * self.channels + channel) * area + position % area

    def place(self, output: Index, slot: Index) -> tuple[Index, Any]:
        """Return (place in the input channel, present) of a slot of the kernel at an output place."""
        found, present = 0, True
        for axis, size in enumerate(self.source_shape):
            out = output // _step(self.target_shape, axis) % self.target_shape[axis]
            tap = slot // _step(self.kernel, axis) % self.kernel[axis]
            reach = out + self.padding[axis] - tap * self.dilation[axis]
            at = reach // self.stride[axis]
            inside = (at > -1) & (at < size) & (reach % self.stride[axis] < 1)
            found = found + at * inside * _step(self.source_shape, axis)
            present = present & inside
        return found, present

    def source(self, output: Index, slot: Index) -> tuple[Index, Any, Index]:
        area, taps = prod(self.target_shape), prod(self.kernel)
        channel = output // area
        found, present = self.place(output % area, slot % taps)
        channel_in = channel // self.channels * (self.fan // taps) + slot // taps
        return channel_in * prod(self.source_shape) + found, present, channel * self.fan + slot

    def bias(self, output: Index) -> Index:
        return output // prod(self.target_shape)


def transposed_convolution(
    channels_in: int,
    channels_out: int,
    groups: int,
    source_shape: tuple[int, ...],
    target_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> TransposedConvolution:
    """Return the wiring of a transposed convolution with one to three spatial axes."""
    return TransposedConvolution(
        inputs=channels_in * prod(source_shape),
        outputs=channels_out * prod(target_shape),
        fan=channels_in // groups * prod(kernel),
        channels=channels_out // groups,
        groups=groups,
        taps=prod(kernel),
        source_shape=source_shape,
        target_shape=target_shape,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
