"""The Triton twin of `least_passing`: one pass over z in place of some fifty."""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit(do_not_specialize=("total",))
def least(out, z_at, theta_at, total, STRICT: tl.constexpr, NEGATIVE: tl.constexpr, SIZE: tl.constexpr):
    """Write the least float P with fl(P / |z|) >= theta (> if STRICT): of seven around fl(theta |z|).

    Their bits are seven integers in a row; those of negative floats fall as the floats rise. NEGATIVE: theta is.
    """
    i = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    size = tl.abs(tl.load(z_at + i, mask=i < total, other=1))
    # Nothing is asked of z = 0.
    size = tl.where(size == 0, 1, size)
    theta = tl.load(theta_at)
    middle = theta * size
    found = tl.zeros((SIZE,), out.dtype.element_ty) + float("inf")
    for step in tl.static_range(7):
        move = 3 - step if NEGATIVE else step - 3
        if out.dtype.element_ty == tl.float32:
            candidate = (middle.to(tl.int32, bitcast=True) + move).to(tl.float32, bitcast=True)
            quotient = tl.div_rn(candidate, size)
        else:
            candidate = (middle.to(tl.int64, bitcast=True) + move).to(tl.float64, bitcast=True)
            quotient = candidate / size
        passes = quotient > theta if STRICT else quotient >= theta
        found = tl.where(passes, tl.minimum(found, candidate), found)
    tl.store(out + i, found, mask=i < total)
