"""The Triton kernels of one body. Generated modules are this text with another update, join and NAME between the marks
(see `triton_source`); this file itself is a working instance, (max, ×), so that linters and readers see real code.

Near ends lie as [rows, groups, channels, places], far ends as columns: `s0`, `s1`, `reached` [groups, far, columns]; a
column is (row, far place), and the last ones stand for no far end at all. Weights lie as [groups, taps, far, padded].
`far` and `padded` are whole numbers of steps and tiles, so that the inner loop reads without masks.
"""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

# <body>
NAME = "max_times"
# </body>


@triton.jit(
    do_not_specialize=("ends", "places", "far_places", "channels", "far", "taps", "tiles", "blocks", "groups", "share")
)
def fold(
    out,
    near,
    weights,
    table,
    reached,
    s0_at,
    s1_at,
    numbers,
    start,
    ends,
    places,
    far_places,
    channels,
    padded,
    far,
    columns,
    taps,
    tiles,
    blocks,
    groups,
    share,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
    STEP: tl.constexpr,
    NEAR: tl.constexpr,
    SCALARS: tl.constexpr,
    REACHED: tl.constexpr,
):
    """Fold `share` far channels over all taps into PLACES near ends of CHANNELS channels: an outer product a far end.

    out [parts, rows, groups, channels, places]; numbers: c0, c1; start: what v starts from; ends: rows * places.
    """
    program = tl.program_id(0)
    block, tile, part = program % blocks, program // blocks % tiles, program // blocks // tiles
    group = block // (blocks // groups)
    n = block % (blocks // groups) * CHANNELS + tl.arange(0, CHANNELS)
    m = tile * PLACES + tl.arange(0, PLACES)
    # Ends past the last one do its work again, and are not stored.
    end = tl.minimum(m, ends - 1)
    row, place = end // places, end % places
    no_column = ends // places * far_places

    at = ((row * groups + group).to(tl.int64) * channels * places + place)[:, None] + (n * places)[None, :]
    stored = (m < ends)[:, None] & (n < channels)[None, :]
    c0 = tl.load(numbers)  # noqa: F841
    c1 = tl.load(numbers + 1)  # noqa: F841
    v = tl.zeros((PLACES, CHANNELS), out.dtype.element_ty) + tl.load(start)
    a = v
    if NEAR:
        a = tl.load(near + at, mask=stored, other=0)  # noqa: F841

    # Products of two sizes may pass 2^31; sums of a few columns do not.
    wide_columns, wide_padded = tl.cast(columns, tl.int64), tl.cast(padded, tl.int64)
    first = part * share
    last = tl.minimum(first + share, far)
    for tap in range(taps):
        far_place = tl.load(table + tap * places + place)
        column = tl.where(far_place < 0, no_column, row * far_places + far_place)
        for k in range(first, last, STEP):
            far_row = (group * far + k) * wide_columns
            weight_row = weights + ((group * taps + tap) * far + k) * wide_padded
            for step in tl.static_range(STEP):
                w = tl.load(weight_row + step * wide_padded + n)[None, :]
                s0, s1 = w, w
                if SCALARS > 0:
                    s0 = tl.load(s0_at + far_row + step * wide_columns + column)[:, None]
                if SCALARS > 1:
                    s1 = tl.load(s1_at + far_row + step * wide_columns + column)[:, None]  # noqa: F841
                # <update>
                updated = tl.maximum(v, s0 * w)
                # </update>
                updated = tl.broadcast_to(updated, (PLACES, CHANNELS)).to(out.dtype.element_ty)
                if REACHED:
                    # An integer, compared as late as this: a truth value on its way here would be packed and unpacked.
                    here = tl.load(reached + far_row + step * wide_columns + column)[:, None]
                    updated = tl.where(here != 0, updated, v)
                v = updated
    tl.store(out + part * tl.cast(ends, tl.int64) * groups * channels + at, v, mask=stored)


@triton.jit(do_not_specialize=("total", "parts"))
def joined(out, parts_at, total, parts, SIZE: tl.constexpr):
    """Join [parts, total] to out [total], in the order of the parts."""
    i = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    v = tl.load(parts_at + i, mask=i < total, other=0)
    for part in range(1, parts):
        s0 = tl.load(parts_at + part * tl.cast(total, tl.int64) + i, mask=i < total, other=0)
        # <join>
        updated = tl.maximum(v, s0)
        # </join>
        v = updated.to(out.dtype.element_ty)
    tl.store(out + i, v, mask=i < total)
