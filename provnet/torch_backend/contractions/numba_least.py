"""The numba twin of `least_passing`, for the outputs that are asked for only. Compiled from a copy on disk."""

from __future__ import annotations

from numba import njit


@njit(nogil=True)
def least(first, last, z, reached, theta, strict, out, bits):
    """Write to out[first:last] the least float P with fl(P / |z|) >= theta (> if `strict`), where `reached`.

    `theta` has the type of z. P is at most three floats from fl(theta |z|); see `least_passing`. `bits` is `out` as
    integers, in which a float's neighbour is one more or less.
    """
    up = 1 if theta > 0 else -1
    for k in range(first, last):
        if not reached[k]:
            continue
        size = abs(z[k])
        out[k] = theta * size
        quotient = out[k] / size
        passes = quotient > theta if strict else quotient >= theta
        for _ in range(4):
            bits[k] += -up if passes else up
            quotient = out[k] / size
            also = quotient > theta if strict else quotient >= theta
            if passes and not also:
                bits[k] += up  # the one before is the least
                break
            if also and not passes:
                break  # the first that passes
