"""The arithmetic of complex numbers on their real and imaginary parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from provnet.capture.storage_identity import as_pairs

aten = torch.ops.aten

Part = Any
"""A real or an imaginary part: a tensor, or a number; None: it is 0."""


def parts(value: Any) -> tuple[Part, Part]:
    """Return the real and the imaginary part of a tensor or a number."""
    if isinstance(value, Tensor):
        if not value.is_complex():
            return value, None
        pairs = torch.view_as_real(value.resolve_conj())
        return pairs.select(-1, 0), pairs.select(-1, 1)
    return (value.real, value.imag) if isinstance(value, complex) else (value, None)


def joined(real: Tensor, imaginary: Part) -> Tensor:
    """Return the complex tensor of two parts."""
    if not isinstance(imaginary, Tensor):
        imaginary = torch.full_like(real, imaginary or 0.0)
    return complex_of(torch.stack(torch.broadcast_tensors(real, imaginary), -1))


def complex_of(pairs: Tensor) -> Tensor:
    """Return pairs [..., 2] as complex numbers."""
    return torch.view_as_complex(pairs.contiguous())


# --- sums and products ------------------------------------------------------------------------------------------------


def _plus(first: Part, second: Part, sign: int = 1) -> Part:
    if second is None:
        return first
    if first is None:
        return second if sign > 0 else -second
    return first + second if sign > 0 else first - second


def signed_sum(sign: int) -> Callable[..., Tensor]:
    """Return x + alpha y, or x - alpha y, of complex numbers: sign +1 or -1."""

    def added(x: Any, y: Any, alpha: Any = 1) -> Tensor:
        y = y if alpha == 1 else product(y, alpha)
        (a, b), (c, d) = parts(x), parts(y)
        return _complex(_plus(a, c, sign), _plus(b, d, sign))

    return added


def _complex(real: Part, imaginary: Part) -> Tensor:
    """Return the complex tensor of parts of which one at least is a tensor."""
    if isinstance(real, Tensor):
        return joined(real, imaginary)
    assert isinstance(imaginary, Tensor)
    return joined(torch.full_like(imaginary, real or 0.0), imaginary)


def bilinear(multiply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Tensor]:
    """Return (a + ib)(c + id) = (ac - bd) + i(ad + bc) for whatever product of two tensors."""

    def times(x: Any, y: Any) -> Tensor:
        def of(first: Part, second: Part) -> Part:
            return None if first is None or second is None else multiply(first, second)

        (a, b), (c, d) = parts(x), parts(y)
        return _complex(_plus(of(a, c), of(b, d), -1), _plus(of(a, d), of(b, c)))

    return times


product = bilinear(lambda x, y: x * y)


def quotient(x: Any, y: Any) -> Tensor:
    """x / y = x · ȳ / |y|²."""
    c, d = parts(y)
    if d is None:
        a, b = parts(x)
        return _complex(None if a is None else a / c, None if b is None else b / c)
    length = c * c + d * d
    return product(x, _complex(c / length, -d / length))


def power(x: Tensor, exponent: Any) -> Tensor:
    """x · x · … for a whole number of factors, at least one."""
    return reduce(product, [x] * int(exponent))


def conjugate(x: Tensor) -> Tensor:
    """The same with the other sign of the imaginary part."""
    real, imaginary = parts(x)
    return _complex(real, None if imaginary is None else -imaginary)


def length(x: Tensor) -> Tensor:
    """|x|, the length of the pair."""
    return torch.linalg.vector_norm(torch.view_as_real(x), dim=-1)


def exponential(x: Tensor) -> Tensor:
    """exp(a + ib) = exp a (cos b + i sin b)."""
    real, imaginary = parts(x)
    return polar(real.exp(), imaginary)


def polar(size: Tensor, angle: Tensor) -> Tensor:
    """size · (cos angle + i sin angle)."""
    return joined(size * angle.cos(), size * angle.sin())


def added_product(x: Any, first: Any, second: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta · x + alpha · first @ second."""
    found = bilinear(torch.matmul)(first, second)
    found = found if alpha == 1 else product(found, alpha)
    return found if beta == 0 else signed_sum(1)(found, x if beta == 1 else product(x, beta))


def to_copy(x: Tensor, **options: Any) -> Tensor:
    """Another dtype: real numbers become pairs with 0, pairs lose their second part."""
    wanted = options.pop("dtype", None) or x.dtype
    real, imaginary = parts(x)
    if not wanted.is_complex:
        return real.to(wanted)
    one = wanted.to_real()
    return joined(real.to(one), imaginary.to(one) if isinstance(imaginary, Tensor) else None)


def write(base: str, target: Tensor, value: Any = 0, *_: Any) -> None:
    """copy_, fill_ and zero_ into complex memory, part by part."""
    pairs = as_pairs(target)
    if base == "copy_" and isinstance(value, Tensor) and value.is_complex():
        pairs.copy_(as_pairs(value.resolve_conj()))
        return
    for which, part in enumerate(parts(value)):
        half = pairs.select(-1, which)
        if part is None:
            half.zero_()
        elif isinstance(part, Tensor):
            half.copy_(part)
        else:
            half.fill_(part)


# --- what is done to each part alike ----------------------------------------------------------------------------------


def on_parts(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that adds, or moves entries, on complex tensors: it does so on either part."""

    def on_both(*args: Any, **kwargs: Any) -> Any:
        found = [func(*(_part(a, which) for a in args), **kwargs) for which in (0, 1)]
        if isinstance(found[0], tuple | list):
            return tuple(joined(real, imaginary) for real, imaginary in zip(*found, strict=True))
        return joined(*found)

    return on_both


def _part(value: Any, which: int) -> Any:
    if isinstance(value, list | tuple) and any(isinstance(one, Tensor) and one.is_complex() for one in value):
        return [_part(one, which) for one in value]
    if isinstance(value, Tensor) and (value.is_complex() or value.is_floating_point()):
        found = parts(value)[which]
        return torch.zeros_like(value) if found is None else found
    return parts(value)[which] if isinstance(value, complex) else value
