"""Relevance as pictures: numbers -> strengths -> colours -> PNG. numpy and zlib do, so there is nothing to install."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from math import ceil, isqrt, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provnet.errors import InputError
from provnet.semirings.base import Semiring

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

PAPER = (247, 247, 245)
RAMP = ((247, 247, 245), (254, 224, 144), (244, 109, 67), (165, 15, 55), (64, 8, 40))
"""From nothing to the strongest: paper, sand, orange, crimson, nearly black. Its lightness falls evenly."""

OPPOSED = ((20, 58, 130), (67, 130, 196), (247, 247, 245), (226, 100, 70), (140, 16, 40))
"""From the strongest below zero (blue) over nothing (paper) to the strongest above (red).

Relevance that starts at the logit is above zero where it speaks for the target. Started at one, it is a share of the
target: above zero it has the target's own sign, so for a negative logit red speaks against it.
"""


def strengths(semiring: Semiring, elements: Any) -> Floats:
    """Return how strongly each element is to be coloured: [0, 1] from the semiring's zero up; rings: [-1, 1].

    A picture shows one array, so its own largest element is 1. Where zero is +∞ (tropical) elements are costs: the
    largest finite cost is nearly nothing, the smallest is 1. Where zero is -∞ (Bottleneck) nothing at or below 0 shows,
    unless all is.
    """
    x = np.asarray(elements, np.float64)
    zero = float(semiring.zero) if isinstance(semiring.zero, int | float) else 0.0
    if semiring.ring:
        return x / (_largest(np.abs(x)) or 1.0)
    if zero == np.inf:
        finite = x[np.isfinite(x)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        # A twentieth above, so that the dearest path that there is differs from no path.
        return np.where(np.isfinite(x), 1 - (x - low) / ((high - low) * 1.05 or 1.0), 0.0)
    if zero == -np.inf:
        positive = np.where(x == np.inf, max(_largest(x), 1.0), np.maximum(x, 0.0))
        return positive / (positive.max(initial=0.0) or 1.0)
    shifted = np.maximum(x - zero, 0.0)
    top = _largest(shifted) or 1.0
    return np.minimum(shifted / top, 1.0)


def _largest(x: Floats) -> float:
    finite = x[np.isfinite(x)]
    return float(finite.max(initial=0.0))


def colours(strength: Floats, opposed: bool = False) -> Pixels:
    """Return RGB colours [..., 3] of strengths in [0, 1], or in [-1, 1] if `opposed`."""
    stops = np.array(OPPOSED if opposed else RAMP, np.float64)
    at = np.linspace(-1.0 if opposed else 0.0, 1.0, len(stops))
    return np.stack([np.interp(strength, at, stops[:, c]) for c in range(3)], -1).round().astype(np.uint8)


def heatmap(semiring: Semiring, elements: Any, scale: int = 1) -> Pixels:
    """Return the picture [height * scale, width * scale, 3] of relevance [height, width] in one semiring."""
    return enlarged(colours(strengths(semiring, elements), semiring.ring), scale)


def grey(image: Any, scale: int = 1) -> Pixels:
    """Return the picture of an image [height, width] with values in [0, 1], ink dark."""
    level = (255 - 235 * np.clip(np.asarray(image, np.float64), 0, 1)).round().astype(np.uint8)
    return enlarged(np.repeat(level[..., None], 3, -1), scale)


def enlarged(pixels: Pixels, scale: int) -> Pixels:
    """Return each pixel as a square of `scale` pixels."""
    return pixels.repeat(scale, 0).repeat(scale, 1)


def beside(pictures: Sequence[Pixels], columns: int | None = None, gap: int = 4) -> Pixels:
    """Return pictures of one size on a sheet of `columns` columns, white between them."""
    high, wide = pictures[0].shape[:2]
    columns = columns or min(len(pictures), 8)
    lines = ceil(len(pictures) / columns)
    sheet = np.full((lines * (high + gap) - gap, columns * (wide + gap) - gap, 3), 255, np.uint8)
    for k, picture in enumerate(pictures):
        y, x = k // columns * (high + gap), k % columns * (wide + gap)
        sheet[y : y + high, x : x + wide] = picture
    return sheet


def as_image(semiring: Semiring, relevance: Any, example: int) -> NDArray[Any]:
    """Return one example's relevance as [height, width]: channels ⊕-ed, a row of n² numbers as a square.

    `relevance` is a tensor [batch, ...] of a semiring whose elements are single numbers. Raises: `InputError` for
    relevance that is no picture.
    """
    if semiring.element_shape:
        raise InputError(
            f"elements of {semiring.name!r} have the shape {semiring.element_shape}: no picture shows them."
        )
    x = relevance[example]
    if x.ndim == 3:
        x = semiring.sum(x, 0)
    if x.ndim == 1:
        side = isqrt(len(x))
        x = x.reshape((side, side) if side * side == len(x) else (1, len(x)))
    if x.ndim != 2:
        raise InputError(
            f"relevance of shape {tuple(relevance.shape[1:])} an example is no picture: wanted are [height, width], "
            "[channels, height, width] or one row. Write .npy or .safetensors instead."
        )
    return x.detach().cpu().numpy()


def sheet(semiring: Semiring, relevance: Any) -> Pixels:
    """Return one picture of all examples of relevance [batch, ...], small ones enlarged."""
    images = [as_image(semiring, relevance, k) for k in range(len(relevance))]
    scale = max(1, round(224 / max(images[0].shape)))
    return beside([heatmap(semiring, image, scale) for image in images], max(1, round(sqrt(len(images)))))


def png(pixels: Pixels) -> bytes:
    """Return RGB pixels [height, width, 3] as a PNG file. Equal pixels give equal bytes.

    Source: PNG (Portable Network Graphics) Specification, W3C, sections 5 and 11.
    """
    high, wide = pixels.shape[:2]
    lines = np.zeros((high, 1 + 3 * wide), np.uint8)  # each line begins with its filter, 0: none
    lines[:, 1:] = pixels.reshape(high, 3 * wide)
    header = struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
