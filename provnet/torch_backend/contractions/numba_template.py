"""The numba kernels of one body. Generated modules are this text with another `update`, `join` and NAME between the
marks (see `numba_source`); this file itself is a working instance, (max, ×), so that linters and readers see real code.

Arrays are flat and contiguous. Near ends lie as [rows, groups, near, places], far ends as [rows, groups, far,
positions]. No FMA and no reordering: an update's bits are those of its expression. `nnan` lets LLVM take a maximum for
one instruction; callers see to it that nothing is NaN.
"""

from __future__ import annotations

from math import exp, log, sqrt

from numba import njit

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
def compress(first, last, at, row_step, far, positions, size, alive, s0, s1, starts, index, t0, t1):
    """List the far ends that are alive at first:last (row * positions + position), block by block of `size`.

    `at` is where the first row's far ends begin, `row_step` how far the next one's are. starts [listed, blocks + 1],
    index, t0, t1 [listed, far].
    """
    for o in range(first, last):  # neighbours share the cache lines that they read
        p, n = at + o // positions * row_step + o % positions, 0
        starts[o, 0] = 0
        for c in range(far):
            # Written whether it is alive or not, for a branch is a coin's toss; the next one overwrites it.
            index[o, n] = c
            t0[o, n] = s0[p]
            if SCALARS > 1:
                t1[o, n] = s1[p]
            n += alive[p]
            p += positions
            if (c + 1) % size == 0:
                starts[o, (c + 1) // size] = n
        starts[o, (far + size - 1) // size] = n


@njit(nogil=True)
def pack(first, last, far, near, taps, width, swapped, weights, at, out):
    """Copy weights of far ends first:last to out [blocks of near, taps, far, width], the last block narrower.

    They lie as [far, near, taps] from `at` on, or as [near, far, taps] if `swapped`.
    """
    for k in range(first, last):
        for begin in range(0, near, width):
            wide = min(width, near - begin)
            base = begin * taps * far
            for t in range(taps):
                to = base + (t * far + k) * wide
                if swapped:
                    for n in range(wide):
                        out[to + n] = weights[at + ((begin + n) * far + k) * taps + t]
                else:
                    for n in range(wide):
                        out[to + n] = weights[at + (k * near + begin + n) * taps + t]


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
    for i in range((last - first) * width):
        v[i] = zero
    if uses_a:
        for n in range(width):
            for i in range(last - first):
                row, place = (first + i) // places, (first + i) % places
                near[i * width + n] = a[near_at + row * row_step + n * places + place]
    for tap in range(table.shape[0]):
        for block in range(starts.shape[1] - 1):
            for i in range(last - first):
                position = table[tap, (first + i) % places]
                if position < 0:
                    continue
                o = (first + i) // places * positions + position
                vs, ns = v[i * width : (i + 1) * width], near[i * width : (i + 1) * width]
                base = at + tap * tap_step
                j, end = starts[o, block], starts[o, block + 1]
                while j + 8 <= end:
                    w0 = weights[base + index[o, j] * far_step :][:width]
                    w1 = weights[base + index[o, j + 1] * far_step :][:width]
                    w2 = weights[base + index[o, j + 2] * far_step :][:width]
                    w3 = weights[base + index[o, j + 3] * far_step :][:width]
                    w4 = weights[base + index[o, j + 4] * far_step :][:width]
                    w5 = weights[base + index[o, j + 5] * far_step :][:width]
                    w6 = weights[base + index[o, j + 6] * far_step :][:width]
                    w7 = weights[base + index[o, j + 7] * far_step :][:width]
                    x0, x1, x2, x3 = s0[o, j], s0[o, j + 1], s0[o, j + 2], s0[o, j + 3]
                    x4, x5, x6, x7 = s0[o, j + 4], s0[o, j + 5], s0[o, j + 6], s0[o, j + 7]
                    y0, y1, y2, y3 = s1[o, j], s1[o, j + 1], s1[o, j + 2], s1[o, j + 3]
                    y4, y5, y6, y7 = s1[o, j + 4], s1[o, j + 5], s1[o, j + 6], s1[o, j + 7]
                    for n in range(width):
                        u, e = vs[n], ns[n]
                        u = update(u, e, w0[n], x0, y0, c0, c1)
                        u = update(u, e, w1[n], x1, y1, c0, c1)
                        u = update(u, e, w2[n], x2, y2, c0, c1)
                        u = update(u, e, w3[n], x3, y3, c0, c1)
                        u = update(u, e, w4[n], x4, y4, c0, c1)
                        u = update(u, e, w5[n], x5, y5, c0, c1)
                        u = update(u, e, w6[n], x6, y6, c0, c1)
                        u = update(u, e, w7[n], x7, y7, c0, c1)
                        vs[n] = u
                    j += 8
                while j < end:
                    w0 = weights[base + index[o, j] * far_step :][:width]
                    x0, y0 = s0[o, j], s1[o, j]
                    for n in range(width):
                        vs[n] = update(vs[n], ns[n], w0[n], x0, y0, c0, c1)
                    j += 1
    for n in range(width):
        for i in range(last - first):
            row, place = (first + i) // places, (first + i) % places
            out[near_at + row * row_step + n * places + place] = v[i * width + n]


@njit(nogil=True, fastmath=MATH)
def contract(first, last, step, *rest):
    """Fold near ends first:last by tiles of `step`; the rest is `tile`'s."""
    for begin in range(first, last, step):
        tile(begin, min(begin + step, last), *rest)


LANES = 128
"""Running folds of `rows`, so that its loop has no chain of dependent operations."""


@njit(nogil=True, fastmath=MATH)
def rows(first, last, count, far, near, weights, alive, s0, s1, a, uses_a, c0, c1, zero, out, v):
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
            x, y, live = s0[row * far : (row + 1) * far], s1[row * far : (row + 1) * far], alive[row * far :]
            whole = far // LANES * LANES
            for begin in range(0, whole, LANES):
                for i in range(LANES):
                    u = update(vs[i], e, w[begin + i], x[begin + i], y[begin + i], c0, c1)
                    vs[i] = u if live[begin + i] else vs[i]
            total = vs[0]
            for i in range(1, LANES):
                total = join(total, vs[i])
            for k in range(whole, far):
                if live[k]:
                    total = update(total, e, w[k], x[k], y[k], c0, c1)
            out[row * near + n] = total
