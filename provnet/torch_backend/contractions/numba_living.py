"""Dense layers folded example by example over living neurons: outputs that relevance came to, inputs that are not 0.
Compiled from a copy on disk, which numba keeps what it compiled beside.

Arrays are flat: a [rows, near], w [far, near], b [far] or empty, z and r [rows, far]. What comes out is written,
whatever lay there: into [rows, near]; bias, lost and total [rows]. Inputs that are 0 contribute 0, which passes no θ
above 0 and wins no maximum, so that leaving them out is the definition. Scratch arrays are one task's own. Lists are
padded to eights by entries that do nothing, for eight outputs at a time keep the vectors busy.
"""

from __future__ import annotations

from numba import njit, uint64

BLOCK = 32
"""Inputs that are folded side by side: compiled loops take so many a turn, and what is left over one by one. So rows
are read up to a whole block: behind the weights lie BLOCK numbers more, and what is read there meets inputs of 0."""

FEW = 4
"""Inputs of which it costs less to divide than to find out when that is spared."""

LISTED = 64
"""Ends of a block of a list, as in `numba_engine`."""


@njit(inline="always")
def greater(x, y):
    return x if x > y else y


@njit(inline="always")
def padded(n):
    return (n + 7) // 8 * 8


@njit(error_model="numpy")
def passes(p, z, theta, strict, absolute, most):
    """Whether the coefficient p / z is a number, and passes θ > 0."""
    d = p / z
    size = abs(d) if absolute else d
    return (size > theta if strict else size >= theta) and size <= most


@njit(error_model="numpy")
def some_odd(r, z, o, far, floor):
    """Whether relevance came to an output whose |z| is below `floor`, or no number. From there on no quotient is
    infinite, so that every output has a defined coefficient."""
    found = 0
    for k in range(far):
        found |= (r[o + k] != 0) & (not abs(z[o + k]) >= floor)
    return found != 0


@njit(error_model="numpy")
def is_lost(a, w, b, at, row, near, k, z, most):
    """Whether an output has no defined coefficient. The first one nearly always is."""
    if z == 0:
        return True
    if len(b) and abs(b[k] / z) <= most:
        return False
    for j in range(near):  # noqa: SIM110  # numba compiles loops
        if abs(a[at + j] * w[row + j] / z) <= most:
            return False
    return True


@njit(error_model="numpy")
def ceiling_of(z, most):
    """Return a bound up to which contributions have a finite quotient by z."""
    size = abs(z)
    return most / 2 if size >= 1 else most * size / 2


@njit(error_model="numpy")
def is_normal(z, theta, safe, most):
    """Whether θ |z| and what lies near it are normal numbers, so that bounds in ulp hold."""
    c = theta * abs(z)
    return safe < theta and safe < c and c < most / 4 and abs(z) < most


@njit(error_model="numpy")
def living_outputs(r, o, far, index):
    """List the outputs to which relevance came, and return how many there are. No branch: it would be a coin's toss."""
    n = 0
    for k in range(far):
        index[n] = k
        n += r[o + k] != 0
    return n


@njit(nogil=True, error_model="numpy")
def reach(
    first, last, near, far, a, w, b, z, r, theta, strict, absolute, safe, floor, margin, most, into, bias, lost, total,
    living, index,
):  # fmt: skip
    """R_j = some output k with R_k passes: each is asked for those inputs only that no other has passed to.

    `floor` is the |z| from which on no quotient is infinite, NaN if there is none. `margin` is four ulp, more than
    θ |z| and a quotient are rounded by: a contribution that is farther from θ |z| needs no division.
    """
    for e in range(first, last):
        at, o = uint64(e * near), uint64(e * far)
        n = 0
        for j in range(near):
            into[at + j] = 0
        for j in range(near):
            living[n] = j
            n += a[at + j] != 0
        alive, odd = n, some_odd(r, z, o, far, floor)
        bias[e], lost[e] = 0, 0
        decided = len(b) == 0
        for some in range(living_outputs(r, o, far, index)):
            k = index[some]
            divisor, row, top = z[o + k], uint64(k * near), most
            if odd:
                top = ceiling_of(divisor, most)
                if is_lost(a, w, b, at, row, near, k, divisor, most):
                    lost[e] = 1
                    continue
            elif n == 0 and decided:
                break
            if not decided:
                decided = passes(b[k], divisor, theta, strict, absolute, most)
                bias[e] = decided
            low, high = most * 0, most
            if n > FEW:
                c = theta * abs(divisor)
                if is_normal(divisor, theta, safe, most):
                    low, high = c - c * margin, c + c * margin
            left = 0
            for i in range(n):
                j = living[i]
                p = a[at + j] * w[row + j]
                q = abs(p) if absolute else p if divisor > 0 else -p
                passed = q >= high and q <= top
                if q >= low and not passed:
                    passed = passes(p, divisor, theta, strict, absolute, most)
                into[at + j] |= passed
                living[left] = j
                left += not passed
            n = left
        total[e] = n < alive


@njit(error_model="numpy")
def span(a, at, near):
    """Return (begin, end): between them lie all inputs that are not 0, in whole blocks."""
    begin, end = 0, near
    while begin < near and a[at + begin] == 0:
        begin += 1
    while end > begin and a[at + end - 1] == 0:
        end -= 1
    return begin // BLOCK * BLOCK, (end + BLOCK - 1) // BLOCK * BLOCK


@njit(error_model="numpy")
def written(begin, end, near, at, v, into):
    """Write v from begin to end to a row of `into`, and 0 elsewhere. Return the sum."""
    total, end = into[at] * 0, min(end, near)
    for j in range(begin):
        into[at + j] = 0
    for j in range(begin, end):
        into[at + j] = v[j]
    for j in range(end, near):
        into[at + j] = 0
    for j in range(begin, end):
        total += into[at + j]
    return total


@njit(error_model="numpy")
def least_passing(first, last, theta, strict, size, tried, tried_bits, found):
    """Write to found[first:last] the least float P with fl(P / size) >= theta (> if `strict`): it is among the seven
    next to fl(θ size), and those above it pass too. Floats' neighbours are one more or less in `tried_bits`."""
    for i in range(first, last):
        tried[i] = theta * size[i]
    for i in range(first, last):
        tried_bits[i] += 3
    for _ in range(7):
        for i in range(first, last):
            d = tried[i] / size[i]
            also = d > theta if strict else d >= theta
            found[i] = tried[i] if also else found[i]
        for i in range(first, last):
            tried_bits[i] -= 1


@njit(error_model="numpy")
def count_eight(begin, end, x, w, i, index, sides, least, worth, v):
    """Add to v the worth of each of eight listed outputs where x w reaches its least contribution. x holds the inputs,
    and behind them the same with the other sign: `sides` says which an output takes."""
    k0, s0, l0, r0 = uint64(index[i + 0]), uint64(sides[i + 0]), least[i + 0], worth[i + 0]
    k1, s1, l1, r1 = uint64(index[i + 1]), uint64(sides[i + 1]), least[i + 1], worth[i + 1]
    k2, s2, l2, r2 = uint64(index[i + 2]), uint64(sides[i + 2]), least[i + 2], worth[i + 2]
    k3, s3, l3, r3 = uint64(index[i + 3]), uint64(sides[i + 3]), least[i + 3], worth[i + 3]
    k4, s4, l4, r4 = uint64(index[i + 4]), uint64(sides[i + 4]), least[i + 4], worth[i + 4]
    k5, s5, l5, r5 = uint64(index[i + 5]), uint64(sides[i + 5]), least[i + 5], worth[i + 5]
    k6, s6, l6, r6 = uint64(index[i + 6]), uint64(sides[i + 6]), least[i + 6], worth[i + 6]
    k7, s7, l7, r7 = uint64(index[i + 7]), uint64(sides[i + 7]), least[i + 7], worth[i + 7]
    for n in range(uint64(begin), uint64(end)):
        u = v[n]
        u = u + r0 if x[s0 + n] * w[k0 + n] >= l0 else u
        u = u + r1 if x[s1 + n] * w[k1 + n] >= l1 else u
        u = u + r2 if x[s2 + n] * w[k2 + n] >= l2 else u
        u = u + r3 if x[s3 + n] * w[k3 + n] >= l3 else u
        u = u + r4 if x[s4 + n] * w[k4 + n] >= l4 else u
        u = u + r5 if x[s5 + n] * w[k5 + n] >= l5 else u
        u = u + r6 if x[s6 + n] * w[k6 + n] >= l6 else u
        u = u + r7 if x[s7 + n] * w[k7 + n] >= l7 else u
        v[n] = u


@njit(nogil=True, error_model="numpy")
def count(
    first, last, near, far, a, w, b, z, r, theta, strict, absolute, safe, floor, most, into, bias, lost, total,
    v, index, sides, size, tried, tried_bits, least, worth, x,
):  # fmt: skip
    """R_j = the sum of R_k over the outputs k that pass, in the type of v, in which all sums are exact.

    `floor` as for `reach`.
    """
    width = len(x) // 2
    for e in range(first, last):
        at, o = uint64(e * near), uint64(e * far)
        begin, end = span(a, at, near)
        for j in range(begin, min(end, near)):
            x[j], x[j + width] = a[at + j], -a[at + j]
        for j in range(min(end, near), end):
            x[j], x[j + width] = 0, 0
        for j in range(begin, end):
            v[j] = 0
        bias[e] = lost[e] = 0
        n = m = living_outputs(r, o, far, index)
        odd = some_odd(r, z, o, far, floor)
        for i in range(n):
            divisor, received = z[o + index[i]], r[o + index[i]]
            sides[i], size[i], worth[i] = (0 if divisor > 0 else width), abs(divisor), received
            if len(b) and not odd:
                bias[e] += received * passes(b[index[i]], divisor, theta, strict, absolute, most)
        for i in range(n):
            odd |= not is_normal(size[i], theta, safe, most)
        if odd:  # one by one, by the definition where bounds do not hold
            bias[e] = m = 0
            for i in range(n):
                k = index[i]
                received, divisor, row = r[o + k], z[o + k], uint64(k * near)
                if is_lost(a, w, b, at, row, near, k, divisor, most):
                    lost[e] += received
                    continue
                if len(b):
                    bias[e] += received * passes(b[k], divisor, theta, strict, absolute, most)
                for j in range(begin, min(end, near)):
                    if x[j] != 0 and passes(x[j] * w[row + j], divisor, theta, strict, absolute, most):
                        v[j] += received
        for i in range(m):
            index[i] *= near
        least_passing(0, m, theta, strict, size, tried, tried_bits, least)
        if absolute:
            for i in range(m):
                index[m + i], sides[m + i], least[m + i], worth[m + i] = index[i], width - sides[i], least[i], worth[i]
            m *= 2
        for i in range(m, padded(m)):
            index[i], sides[i], least[i], worth[i] = 0, 0, most, 0
        for i in range(0, m, 8):
            count_eight(begin, end, x, w, i, index, sides, least, worth, v)
        total[e] = written(begin, end, near, at, v, into)


@njit(nogil=True, error_model="numpy")
def best_inputs(first, last, near, a, starts, index, share):
    """List the inputs that are not 0 of rows first:last, and their sizes, as `living_lists` reads them."""
    for e in range(first, last):
        at, o, n = uint64(e * near), e - first, 0
        starts[o, 0] = 0
        for block in range(0, near, LISTED):
            for j in range(block, min(block + LISTED, near)):
                index[o, n], share[o, n] = j, abs(a[at + j])
                n += a[at + j] != 0
            starts[o, block // LISTED + 1] = n


@njit(nogil=True, error_model="numpy")
def best_outputs(
    first, last, far, b, r, joined, largest, small, slack, most, bias, lost, bad,
    starts, index, share, least, top, height,
):  # fmt: skip
    """List the outputs to which relevance came in rows first:last, with R_k / m_k, as `living_lists` reads them.

    largest [rows, far] holds the largest contribution of each output, and first of its inputs alone: then the bias is
    to be `joined`. Shares that may be below `small`, of outputs or quotients, are set to 0: they are left to the
    definition, as is a row whose shares overflow. least [rows]: the products from which on nothing else counts. top,
    height [far] are scratch. `bad` says that a number is not finite, and nothing else holds.
    """
    for e in range(first, last):
        o, c = uint64(e * far), e - first
        bias[e] = lost[e] = 0
        if joined and len(b):
            for k in range(far):
                largest[o + k] = greater(abs(b[k]), largest[o + k])
        n, wrong, silent = 0, 0, 0
        for k in range(far):
            index[c, n], top[n], height[n] = k, largest[o + k], r[o + k]
            n += r[o + k] != 0
        for i in range(n):
            wrong |= (not top[i] <= most) | (not height[i] <= most)
            silent |= top[i] == 0
        if wrong:
            bad[0] = 1
            return
        if silent:
            n, listed = 0, n
            for i in range(listed):
                if top[i] == 0:
                    lost[e] = greater(height[i], lost[e])
                else:
                    index[c, n], top[n], height[n] = index[c, i], top[i], height[i]
                    n += 1
        hidden, steepest, unseen = 0, small * 0, small * 0
        for i in range(n):
            share[c, i] = height[i] / top[i]
            hidden |= (top[i] < small) | (share[c, i] < small)
        for i in range(n):
            steepest = greater(share[c, i], steepest)
        if hidden:
            for i in range(n):  # what these give, at most their height, is left to the definition
                if top[i] < small or share[c, i] < small:
                    unseen, share[c, i] = greater(height[i], unseen), 0
        if len(b):
            for i in range(n):
                bias[e] = greater(abs(b[index[c, i]]) / top[i] * height[i], bias[e])
        least[e] = greater(greater(small * steepest, small), unseen * slack)
        if not steepest <= most:
            n = 0
        i, blocks = 0, (far + LISTED - 1) // LISTED
        starts[c, 0] = 0
        for block in range(blocks):
            while i < n and index[c, i] < (block + 1) * LISTED:
                i += 1
            starts[c, block + 1] = i


@njit(error_model="numpy")
def best_literally(p, w, j, near, far, o, r, largest):
    """Return max over the outputs of fl(fl(|p w| / top) R) of one input."""
    found = abs(p) * 0
    for k in range(far):
        if r[o + k] != 0 and largest[o + k] != 0:
            found = greater(abs(p * w[k * near + j]) / largest[o + k] * r[o + k], found)
    return found


@njit(nogil=True, error_model="numpy")
def best(first, last, near, far, a, w, r, largest, least, small, most, highest, into, bias, total, bad, total_bits,
         into_bits):  # fmt: skip
    """R_j = |a_j| times what `into` holds, the maximum over the outputs k of |w_jk| (R_k / m_k), at most `highest`; and
    the definition's where a number on the way may be below `small`."""
    for e in range(first, last):
        row, o = slice(e * near, (e + 1) * near), uint64(e * far)
        x, v, bits = a[row], into[row], into_bits[row]
        unsure, greatest, limit = 0, 0, least[e]
        for j in range(near):
            size = abs(x[j])
            found = size * v[j] if size != 0 else size  # where the maximum has overflown, 0 times it is no number
            sure = found if v[j] >= small else -small
            sure = sure if size != 0 else limit
            v[j] = (found if found < highest else highest) if limit <= sure <= most else -small
        for j in range(near):
            unsure |= v[j] < 0
        if unsure:
            for j in range(near):
                if v[j] < 0:
                    found = best_literally(x[j], w, j, near, far, o, r, largest)
                    v[j] = found if found < highest else highest
        for j in range(near):
            greatest = greater(bits[j], greatest)  # floats from 0 on are ordered as their bits are
        bias[e] = bias[e] if bias[e] < highest else highest
        total_bits[e] = greatest
        if not total[e] <= most:
            bad[0] = 1
            return
