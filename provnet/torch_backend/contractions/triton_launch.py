"""How a contraction is cut into Triton programs: tiles of near ends, and parts of the far channels where ends are few.

Counted in the machine code that Triton 3.6 makes for compute capability 9.0, with a thread for every place and four far
ends unrolled, instructions an edge in float32:

    (max, ×)                    64 channels 2.5, 32: 2.8, 16: 2.9       float64, 32 channels: 5.7
    one if a * w >= s0          32 channels 3.9, 64: 3.7 and spilled
    count if a * w >= s0        32 channels 5.3                         int64: 16 channels 6.6, 32: 6.4 in 254 registers

Fewer places than threads took 5.6 of (max, ×), for then each thread loads one number an edge: so a warp stands for 32
places, and layers with fewer ends are left to the memory's speed.
"""

from __future__ import annotations

from dataclasses import dataclass

FEW = 16
"""Ends up to which a layer is a matrix that is read once: memory is the limit, so programs are wide in channels."""
REGISTERS = 64
"""Registers of a thread that near ends may take; its loop takes about twice as many more."""
WARPS = 12
"""Warps that a multiprocessor holds at 168 registers a thread."""
SHORTEST = 64
"""Far ends that a part should fold at least, or joining the parts costs as much as it saves."""


@dataclass(frozen=True)
class Launch:
    """Programs of `warps` warps, which fold `share` far channels into `places` x `channels` near ends, `step` of them
    unrolled. All but `share`, which is a multiple of `step`, are powers of two."""

    places: int
    channels: int
    step: int
    warps: int
    share: int


@dataclass(frozen=True)
class Size:
    """What decides the launch. ends: rows * places. words: registers (of four bytes) that a near end takes."""

    ends: int
    groups: int
    channels: int
    far: int
    taps: int
    words: int


def launch_of(size: Size, processors: int, divisible: bool) -> Launch:
    """Return how to launch on a device with so many multiprocessors; `divisible`: the body can join parts."""
    if size.ends <= FEW:
        places, step, warps = _power(size.ends), 8, 4
        channels = min(_power(size.channels), max(min(256, 2048 // places) // _power(size.words), 32))
    else:
        places = _fitting(size.ends, (128, 64, 32))
        step, warps = 4, places // 32
        widest = max(REGISTERS // _power(size.words), 1)
        widths = tuple(width for width in (64, 32, 16) if width <= widest) or (widest,)
        # A few channels share one load of the far end's numbers, even if some of them are none.
        channels = min(_fitting(size.channels, widths), _power(size.channels))
    share = -(-size.far // step) * step
    if divisible:
        programs = -(-size.ends // places) * size.groups * -(-size.channels // channels)
        parts = max(processors * WARPS // warps // programs, 1)
        wanted = max(-(-size.far // parts), -(-SHORTEST // size.taps))
        share = min(-(-wanted // step) * step, share)
    return Launch(places, channels, step, warps, share)


def _power(size: int) -> int:
    """Return the least power of two that is no less."""
    return 1 << (size - 1).bit_length()


def _fitting(size: int, widths: tuple[int, ...]) -> int:
    """Return the first, widest width, or one that saves more than a tenth of the work."""
    best = widths[0]
    for width in widths[1:]:
        if -(-size // width) * width < 0.9 * (-(-size // best) * best):
            best = width
    return best
