"""Passes over outputs and inputs around a fold of maxima. Compiled from a copy on disk, as `numba_living`.

Numbers lie flat, [examples, size]; a unit is a piece of an example, `step` numbers, the last one shorter. Floats that
are not negative are ordered as their bits are, and compiled loops find the greatest whole number a vector at a time:
`bits` are such floats once more.
"""

from __future__ import annotations

from numba import njit


@njit(nogil=True, error_model="numpy")
def shares(
    first, last, pieces, step, size, reached, height, largest, small, most, large, share, bits, alive,
    greatest, least, unseen, odd, hidden, silent,
):  # fmt: skip
    """Write share = height / largest where an output is reached whose largest contribution is not 0, and 0 elsewhere;
    `alive` says where it is not 0. Shares below `small`, or of a largest contribution below it, are hidden: 0.

    Of each unit: the bits of the greatest share, and of the least that is not 0 (`large`: there is none); the greatest
    height of those that are hidden; whether a largest contribution is no finite number; whether some share is hidden;
    whether some output is reached whose contributions are all 0.
    """
    for u in range(first, last):
        begin = u // pieces * size + u % pieces * step
        end = min(begin + step, (u // pieces + 1) * size)
        r, h, m, s = reached[begin:end], height[begin:end], largest[begin:end], share[begin:end]
        b, c = bits[begin:end], alive[begin:end]
        any_odd, any_hidden, any_silent, zero = 0, 0, 0, small - small
        for i in range(end - begin):
            q, there = h[i] / m[i], (r[i] != 0) & (m[i] > 0)
            hides = there & ((m[i] < small) | (q < small))
            any_odd |= not m[i] <= most
            any_hidden |= hides
            any_silent |= (r[i] != 0) & (m[i] == 0)
            s[i] = q if there & (not hides) else zero
        for i in range(end - begin):
            c[i] = b[i] != 0
        top, low = b[0], large
        for i in range(end - begin):
            top = b[i] if b[i] > top else top
        for i in range(end - begin):
            some = b[i] if b[i] != 0 else large
            low = some if some < low else low
        most_hidden = small * 0
        if any_hidden:
            for i in range(end - begin):
                if (r[i] != 0) & (m[i] > 0) & ((m[i] < small) | (h[i] / m[i] < small)):
                    most_hidden = max(h[i], most_hidden)
        greatest[u], least[u], unseen[u] = top, low, most_hidden
        odd[u], hidden[u], silent[u] = any_odd, any_hidden, any_silent


@njit(nogil=True, error_model="numpy")
def products(
    first, last, pieces, step, size, a, columns, least, small, most, ceiling, into, bits, greatest, odd, faint, empty,
):  # fmt: skip
    """Write |a| times the columns, at most `ceiling`.

    Of each unit: the bits of the greatest; whether some product is no finite number; whether some product is below the
    example's `least` or its column below `small`, though a is not 0, and the column is not; the same where it is.
    """
    for u in range(first, last):
        begin = u // pieces * size + u % pieces * step
        end = min(begin + step, (u // pieces + 1) * size)
        x, c, v, b, limit = a[begin:end], columns[begin:end], into[begin:end], bits[begin:end], least[u // pieces]
        any_odd, any_faint, any_empty = 0, 0, 0
        for i in range(end - begin):
            product = abs(x[i]) * c[i]
            some = (x[i] != 0) & ((product < limit) | (c[i] < small))
            any_odd |= not product <= most
            any_faint |= some & (c[i] != 0)
            any_empty |= some & (c[i] == 0)
            v[i] = product if product < ceiling else ceiling
        top = b[0]
        for i in range(end - begin):
            top = b[i] if b[i] > top else top
        greatest[u], odd[u], faint[u], empty[u] = top, any_odd, any_faint, any_empty


@njit(nogil=True, error_model="numpy")
def received(
    first, last, pieces, step, size, below, bits, relevance, zero, most, large, reached, above, least, greatest,
    odd, undefined, empty,
):  # fmt: skip
    """Write where relevance came to an output whose divisor `below` is not 0, and where it is above 0 there.

    Of each unit: the bits of the least size of a divisor that is not 0 (`large`: there is none) and of the greatest
    size; whether some divisor is no finite number; whether relevance came to one that is 0; whether one is 0.
    """
    for u in range(first, last):
        begin = u // pieces * size + u % pieces * step
        end = min(begin + step, (u // pieces + 1) * size)
        z, b, r = below[begin:end], bits[begin:end], relevance[begin:end]
        t, c = reached[begin:end], above[begin:end]
        any_odd, any_undefined, any_empty = 0, 0, 0
        for i in range(end - begin):
            came, defined = r[i] != zero, z[i] != 0
            any_odd |= not abs(z[i]) <= most
            any_undefined |= came & (z[i] == 0)
            any_empty |= z[i] == 0
            t[i] = came & defined
        for i in range(end - begin):
            c[i] = (t[i] != 0) & (r[i] > 0)
        low, top = large, b[0] & 0
        for i in range(end - begin):
            size_bits = b[i] & large
            top = size_bits if size_bits > top else top
            some = size_bits if size_bits != 0 else large
            low = some if some < low else low
        least[u], greatest[u] = low, top
        odd[u], undefined[u], empty[u] = any_odd, any_undefined, any_empty


@njit(nogil=True, error_model="numpy")
def below_floor(first, last, pieces, step, size, found, a, floor, unsure):
    """Of each unit: whether a number is below 0, or at most `floor` though a is not 0."""
    for u in range(first, last):
        begin = u // pieces * size + u % pieces * step
        end = min(begin + step, (u // pieces + 1) * size)
        v, x = found[begin:end], a[begin:end]
        some = 0
        for i in range(end - begin):
            some |= (v[i] < 0) | ((v[i] <= floor) & (x[i] != 0))
        unsure[u] = some
