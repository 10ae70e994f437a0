"""The numba twin of `least_passing`, for the outputs that are asked for only. Compiled from a copy on disk."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True)
def least(first, last, z, alive, theta, strict, out):
    """Write to out[first:last] the least float P with fl(P / |z|) >= theta (> if `strict`), where `alive`.

    `theta` has the type of z. At most three floats either way from fl(theta |z|); see `least_passing`.
    """
    up, down = z.dtype.type(np.inf), z.dtype.type(-np.inf)
    for k in range(first, last):
        if not alive[k]:
            continue
        size = abs(z[k])
        p = theta * size
        passes = p / size > theta if strict else p / size >= theta
        for _ in range(4):
            near = np.nextafter(p, down if passes else up)
            q = near / size
            also = q > theta if strict else q >= theta
            if passes and not also:
                break  # p is the least
            p = near
            if also and not passes:
                break  # the first that passes
        out[k] = p
