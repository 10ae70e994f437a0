"""The numba kernels of one body. Generated modules are this text with another `update`, `join` and NAME between the
marks (see `numba_source`); this file itself is a working instance, (max, ×), so that linters and readers see real code.

Arrays are flat and contiguous. Near ends lie as [rows, groups, near, places], far ends as [rows, groups, far,
positions]. No FMA and no reordering: an update's bits are those of its expression. `nnan` lets LLVM take a maximum for
one instruction; callers see to it that nothing is NaN.
"""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
from numba import njit, uint64

CALLS = exp, log, sqrt  # what an expression may call


@njit(inline="always")
def greatest(x, y):
    return x if x > y else y


@njit(inline="always")
def least(x, y):
    return x if x < y else y


# <body>
NAME, SCALARS = "max_times", 1


@njit(inline="always")
def update(v, a, w, s0, s1, c0, c1):
    return greatest(v, s0 * w)


@njit(inline="always")
def join(v, s0):
    return greatest(v, s0)


# </body>

MATH = {"nnan", "nsz"}


@njit(nogil=True, fastmath=MATH)
def compress(first, last, at, row_step, far, positions, size, reached, s0, s1, starts, index, t0, t1):
    """List the far ends that are reached at first:last (row * positions + position), block by block of `size`.

    `at` is where the first row's far ends begin, `row_step` how far the next one's are. starts [listed, blocks + 1],
    index, t0, t1 [listed, far].
    """
    for o in range(first, last):  # neighbours share the cache lines that they read
        p, n = at + o // positions * row_step + o % positions, 0
        starts[o, 0] = 0
        for c in range(far):
            # Written whether it is reached or not, for a branch is a coin's toss; the next one overwrites it.
            index[o, n] = c
            t0[o, n] = s0[p]
            if SCALARS > 1:
                t1[o, n] = s1[p]
            n += reached[p]
            p += positions
            if (c + 1) % size == 0:
                starts[o, (c + 1) // size] = n
        starts[o, (far + size - 1) // size] = n


@njit(nogil=True)
def pack(first, last, far, near, taps, width, swapped, weights, at, out):
    """Copy weights of far ends first:last to out [blocks of near, taps, far, width], the last block narrower.

    They lie as [far, near, taps] from `at` on, or as [near, far, taps] if `swapped`.
    """
    for begin in range(0, near, width):
        wide, base = min(width, near - begin), begin * taps * far
        if swapped:
            for some in range(0, wide, 16):  # a cache line is written at a time, from sixteen that are read
                for k in range(first, last):
                    for t in range(taps):
                        to, read = base + (t * far + k) * wide, at + (begin * far + k) * taps + t
                        for n in range(some, min(some + 16, wide)):
                            out[to + n] = weights[read + n * far * taps]
        else:
            for k in range(first, last):
                for t in range(taps):
                    to, read = base + (t * far + k) * wide, at + (k * near + begin) * taps + t
                    for n in range(wide):
                        out[to + n] = weights[read + n * taps]


@njit(fastmath=MATH)
def run(j, end, o, index, s0, s1, weights, base, step, width, v, near, c0, c1):
    """Fold the listed far ends j:end of one position into v. Offsets are unsigned, for a signed one may count from the
    end: that would be asked at every load."""
    while j + 8 <= end:
        w0, w1 = uint64(base + index[o, j] * step), uint64(base + index[o, j + 1] * step)
        w2, w3 = uint64(base + index[o, j + 2] * step), uint64(base + index[o, j + 3] * step)
        w4, w5 = uint64(base + index[o, j + 4] * step), uint64(base + index[o, j + 5] * step)
        w6, w7 = uint64(base + index[o, j + 6] * step), uint64(base + index[o, j + 7] * step)
        x0, x1, x2, x3 = s0[o, j], s0[o, j + 1], s0[o, j + 2], s0[o, j + 3]
        x4, x5, x6, x7 = s0[o, j + 4], s0[o, j + 5], s0[o, j + 6], s0[o, j + 7]
        y0, y1, y2, y3 = s1[o, j], s1[o, j + 1], s1[o, j + 2], s1[o, j + 3]
        y4, y5, y6, y7 = s1[o, j + 4], s1[o, j + 5], s1[o, j + 6], s1[o, j + 7]
        for n in range(uint64(width)):
            u, e = v[n], near[n]
            u = update(u, e, weights[w0 + n], x0, y0, c0, c1)
            u = update(u, e, weights[w1 + n], x1, y1, c0, c1)
            u = update(u, e, weights[w2 + n], x2, y2, c0, c1)
            u = update(u, e, weights[w3 + n], x3, y3, c0, c1)
            u = update(u, e, weights[w4 + n], x4, y4, c0, c1)
            u = update(u, e, weights[w5 + n], x5, y5, c0, c1)
            u = update(u, e, weights[w6 + n], x6, y6, c0, c1)
            u = update(u, e, weights[w7 + n], x7, y7, c0, c1)
            v[n] = u
        j += 8
    while j + 4 <= end:
        w0, w1 = uint64(base + index[o, j] * step), uint64(base + index[o, j + 1] * step)
        w2, w3 = uint64(base + index[o, j + 2] * step), uint64(base + index[o, j + 3] * step)
        x0, x1, x2, x3 = s0[o, j], s0[o, j + 1], s0[o, j + 2], s0[o, j + 3]
        y0, y1, y2, y3 = s1[o, j], s1[o, j + 1], s1[o, j + 2], s1[o, j + 3]
        for n in range(uint64(width)):
            u, e = v[n], near[n]
            u = update(u, e, weights[w0 + n], x0, y0, c0, c1)
            u = update(u, e, weights[w1 + n], x1, y1, c0, c1)
            u = update(u, e, weights[w2 + n], x2, y2, c0, c1)
            u = update(u, e, weights[w3 + n], x3, y3, c0, c1)
            v[n] = u
        j += 4
    while j < end:
        w0, x0, y0 = uint64(base + index[o, j] * step), s0[o, j], s1[o, j]
        for n in range(uint64(width)):
            v[n] = update(v[n], near[n], weights[w0 + n], x0, y0, c0, c1)
        j += 1


@njit(fastmath=MATH)
def tile(
    first,
    last,
    places,
    positions,
    table,
    starts,
    index,
    s0,
    s1,
    weights,
    at,
    tap_step,
    far_step,
    width,
    near_at,
    row_step,
    a,
    uses_a,
    c0,
    c1,
    zero,
    out,
    v,
    near,
):
    """Fold the edges of near ends first:last (row * places + place), `width` channels from one on.

    `at`, `tap_step`, `far_step` say where a weight row of `width` numbers lies; `near_at`, `row_step` where the near
    ends begin in `a` and `out`. v, near: room for (last - first) * width numbers.
    """
    count = last - first
    place, row = np.empty(count, np.int64), np.empty(count, np.int64)  # divisions are dear, and each serves every tap
    for i in range(count):
        row[i], place[i] = (first + i) // places, (first + i) % places
    for i in range(count * width):
        v[i] = zero
    if uses_a:
        for n in range(width):
            for i in range(count):
                near[i * width + n] = a[near_at + row[i] * row_step + n * places + place[i]]
    for tap in range(table.shape[0]):
        base = at + tap * tap_step
        for block in range(starts.shape[1] - 1):
            for i in range(count):
                position = table[tap, place[i]]
                if position >= 0:
                    o = row[i] * positions + position
                    begin, end = starts[o, block], starts[o, block + 1]
                    vs, ns = v[i * width : (i + 1) * width], near[i * width : (i + 1) * width]
                    run(begin, end, o, index, s0, s1, weights, base, far_step, width, vs, ns, c0, c1)
    for n in range(width):
        for i in range(count):
            out[near_at + row[i] * row_step + n * places + place[i]] = v[i * width + n]


@njit(nogil=True, fastmath=MATH)
def contract(first, last, step, *rest):
    """Fold near ends first:last by tiles of `step`; the rest is `tile`'s."""
    for begin in range(first, last, step):
        tile(begin, min(begin + step, last), *rest)


@njit(nogil=True, fastmath=MATH)
def spread(
    first,
    last,
    places,
    positions,
    back,
    starts,
    index,
    s0,
    s1,
    weights,
    lanes,
    at,
    row_step,
    a,
    uses_a,
    c0,
    c1,
    zero,
    v,
):
    """Fold the edges of far positions first:last (row * positions + position) for each tap and near channel apart.

    Where near channels are few, taps fill the vectors. v [listed, lanes], lanes = taps * channels; `back` [taps,
    positions] is where each tap reads; weights [far, lanes].
    """
    near, taps = np.empty(lanes, a.dtype), back.shape[0]
    channels = lanes // taps
    for o in range(first, last):
        row, position = o // positions, o % positions
        for lane in range(lanes):
            v[o, lane] = zero
        if uses_a:
            for tap in range(taps):
                place = max(back[tap, position], 0)  # what padding makes is not read
                for n in range(channels):
                    near[tap * channels + n] = a[at + row * row_step + n * places + place]
        run(0, starts[o, starts.shape[1] - 1], o, index, s0, s1, weights, 0, lanes, lanes, v[o], near, c0, c1)


@njit(nogil=True, fastmath=MATH)
def gather(first, last, places, positions, table, at, row_step, zero, v, out):
    """Join what `spread` made for near ends first:last (row * places + place)."""
    taps = table.shape[0]
    channels = v.shape[1] // taps
    for i in range(first, last):
        row, place = i // places, i % places
        for n in range(channels):
            total = zero
            for tap in range(taps):
                position = table[tap, place]
                if position >= 0:
                    total = join(total, v[row * positions + position, tap * channels + n])
            out[at + row * row_step + n * places + place] = total


@njit(nogil=True, fastmath=MATH, error_model="numpy")  # what is not chosen may divide by zero
def apart(first, last, ends, table, runs, steps, weights, reached, s0, s1, a, uses_a, c0, c1, zero, out):
    """Fold the edges of small groups first:last (row * groups + group) where they lie, without lists of reached far
    ends.

    ends = groups, near, far, places, positions. steps: how far in the weights the next near channel is, and the next
    far one; the next tap is beside. runs: the table in pieces (`Geometry.runs`), or none.
    """
    groups, near, far, places, positions = ends
    near_step, far_step = steps
    taps = table.shape[0]
    e = np.empty(near * places, a.dtype)
    for g in range(first, last):
        at, begin = g % groups * (near * far * taps), g * near * places
        v = out[begin : begin + near * places]
        for i in range(near * places):
            v[i] = zero
        if uses_a:
            for i in range(near * places):
                e[i] = a[begin + i]
        for k in range(far):
            base = (g * far + k) * positions
            if places == 1 and positions == 1 and taps == 1:  # rows of weights side by side, or a tap in the padding
                if reached[base] and table[0, 0] >= 0:
                    x, y, w = s0[base], s1[base], at + k * far_step
                    for n in range(near):
                        v[n] = update(v[n], e[n], weights[w + n * near_step], x, y, c0, c1)
                continue
            if len(runs):
                for n in range(near):
                    for piece in range(len(runs)):
                        tap, near_place, far_place, count = runs[piece]
                        w = weights[at + n * near_step + k * far_step + tap]
                        b, p = n * places + near_place, base + far_place
                        vs, es = v[b : b + count], e[b : b + count]
                        xs, ys, here = s0[p : p + count], s1[p : p + count], reached[p : p + count]
                        for i in range(count):
                            u = update(vs[i], es[i], w, xs[i], ys[i], c0, c1)
                            vs[i] = u if here[i] != 0 else vs[i]
                continue
            for n in range(near):
                for tap in range(taps):
                    w, b = weights[at + n * near_step + k * far_step + tap], n * places
                    for i in range(uint64(places)):
                        p = table[tap, i]
                        q = uint64(base + max(p, 0))
                        u = update(v[b + i], e[b + i], w, s0[q], s1[q], c0, c1)
                        # Chosen, not branched to: which far ends live is a coin's toss.
                        v[b + i] = u if (p >= 0) & (reached[q] != 0) else v[b + i]


LANES = 128
"""Running folds of `rows`, so that its loop has no chain of dependent operations."""


@njit(nogil=True, fastmath=MATH)
def rows(first, last, count, far, near, weights, reached, s0, s1, a, uses_a, c0, c1, zero, out, v):
    """Fold whole weight rows first:last, [near, far], into out [count, near]: a dense layer asked by a few examples.

    v: room for LANES numbers.
    """
    for n in range(first, last):
        w = weights[n * far : (n + 1) * far]
        for row in range(count):
            e = a[row * near + n] if uses_a else a[0]
            vs = v[:LANES]
            for i in range(LANES):
                vs[i] = zero
            x, y, here = s0[row * far : (row + 1) * far], s1[row * far : (row + 1) * far], reached[row * far :]
            whole = far // LANES * LANES
            for begin in range(0, whole, LANES):
                for i in range(LANES):
                    u = update(vs[i], e, w[begin + i], x[begin + i], y[begin + i], c0, c1)
                    vs[i] = u if here[begin + i] else vs[i]
            total = vs[0]
            for i in range(1, LANES):
                total = join(total, vs[i])
            for k in range(whole, far):
                if here[k]:
                    total = update(total, e, w[k], x[k], y[k], c0, c1)
            out[row * near + n] = total
