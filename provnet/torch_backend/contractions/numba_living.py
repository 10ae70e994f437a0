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

NO_NAN = {"nnan", "nsz"}


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


@njit(error_model="numpy", fastmath=NO_NAN)
def best_eight(begin, end, w, i, index, share, v):
    """Raise v to the best w · share of eight listed rows of w."""
    k0, s0 = uint64(index[i + 0]), share[i + 0]
    k1, s1 = uint64(index[i + 1]), share[i + 1]
    k2, s2 = uint64(index[i + 2]), share[i + 2]
    k3, s3 = uint64(index[i + 3]), share[i + 3]
    k4, s4 = uint64(index[i + 4]), share[i + 4]
    k5, s5 = uint64(index[i + 5]), share[i + 5]
    k6, s6 = uint64(index[i + 6]), share[i + 6]
    k7, s7 = uint64(index[i + 7]), share[i + 7]
    for n in range(uint64(begin), uint64(end)):
        u = v[n]
        u = greater(w[k0 + n] * s0, u)
        u = greater(w[k1 + n] * s1, u)
        u = greater(w[k2 + n] * s2, u)
        u = greater(w[k3 + n] * s3, u)
        u = greater(w[k4 + n] * s4, u)
        u = greater(w[k5 + n] * s5, u)
        u = greater(w[k6 + n] * s6, u)
        u = greater(w[k7 + n] * s7, u)
        v[n] = u


@njit(error_model="numpy")
def best_literally(p, w, j, m, index, top, height):
    """Return max over the listed outputs of fl(fl(|p w| / top) R) of one input."""
    found = abs(p) * 0
    for i in range(m):
        found = greater(abs(p * w[index[i] + j]) / top[i] * height[i], found)
    return found


@njit(nogil=True, error_model="numpy")
def best(
    first, last, near, far, a, w, b, across, r, given, small, slack, most, highest, into, bias, lost, total, bad,
    total_bits, v, v_bits, index, top, share, height, largest, of,
):  # fmt: skip
    """R_j = max over the outputs k of |a_j w_jk| / m_k · R_k, with m_k the largest |a w| of k, or what is `given`
    [rows, far]. w and `across`, [near, far], hold sizes |w|.

    Found as |a_j| max of |w_jk| (R_k / m_k), and literally where a number on the way may be below `small`; `slack` is a
    little more than 1. Where a contribution or a quotient is no finite number, `bad` says so, and nothing else holds.
    """
    for e in range(first, last):
        at, o = uint64(e * near), uint64(e * far)
        begin, end = span(a, at, near)
        bias[e] = lost[e] = 0
        for k in range(far):
            largest[k] = abs(b[k]) if len(b) else 0
        if len(given):
            for k in range(far):
                largest[k] = given[o + k]
        else:
            n = 0
            for j in range(near):
                of[n], share[n] = j * far, abs(a[at + j])
                n += a[at + j] != 0
            for i in range(n, padded(n)):
                of[i], share[i] = 0, 0
            for i in range(0, n, 8):
                best_eight(0, (far + BLOCK - 1) // BLOCK * BLOCK, across, i, of, share, largest)
        n, wrong, silent = living_outputs(r, o, far, index), 0, 0
        for i in range(n):
            top[i], height[i] = largest[index[i]], r[o + index[i]]
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
                    index[n], top[n], height[n] = index[i], top[i], height[i]
                    n += 1
        hidden, steepest, unseen, faint = 0, small * 0, small * 0, False
        for i in range(n):
            share[i] = height[i] / top[i]
            hidden |= (top[i] < small) | (share[i] < small)
        for i in range(n):
            steepest = greater(share[i], steepest)
        faint = not steepest <= most
        if hidden:
            for i in range(n):  # what these give, at most their height, is left to the definition
                if top[i] < small or share[i] < small:
                    unseen, share[i] = greater(height[i], unseen), 0
        if len(b):
            for i in range(n):
                bias[e] = greater(abs(b[index[i]]) / top[i] * height[i], bias[e])
        for i in range(n):
            index[i] *= near
        for i in range(n, padded(n)):
            index[i], share[i] = 0, 0
        least = greater(greater(small * steepest, small), unseen * slack)
        for j in range(begin, end):
            v[j] = 0
        if not faint:
            for i in range(0, n, 8):
                best_eight(begin, end, w, i, index, share, v)
        end, unsure, greatest = min(end, near), 0, 0
        for j in range(begin, end):
            x = abs(a[at + j])
            found = x * v[j] if x != 0 else x  # where v has overflown, 0 v is no number
            sure = found if v[j] >= small else -small
            sure = sure if x != 0 else least
            v[j] = (found if found < highest else highest) if least <= sure <= most else -small
        for j in range(begin, end):
            unsure |= v[j] < 0
        if unsure:
            for j in range(begin, end):
                if v[j] < 0:
                    found = best_literally(a[at + j], w, j, n, index, top, height)
                    v[j] = found if found < highest else highest
        written(begin, end, near, at, v, into)
        for j in range(begin, end):
            greatest = greater(v_bits[j], greatest)  # floats that are not negative are ordered as their bits are
        bias[e] = bias[e] if bias[e] < highest else highest
        total_bits[e] = greatest
        if not total[e] <= most:
            bad[0] = 1
            return
