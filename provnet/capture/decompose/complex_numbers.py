"""Complex numbers as pairs of real ones: what is computed with them is recorded as what it does to the pairs.

A complex tensor and the real one that `torch.view_as_real` gives of it are one memory, so a traced complex tensor is
the real value that lies there, with an axis of two behind the others. Views pass as views. A Fourier transform along
an axis is a linear map of the pairs, with torch's own transform of the unit vectors as its matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

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
    return _of_pairs(torch.stack(torch.broadcast_tensors(real, imaginary), -1))


def _of_pairs(pairs: Tensor) -> Tensor:
    return torch.view_as_complex(pairs.contiguous())


# --- sums and products ------------------------------------------------------------------------------------------------


def _plus(first: Part, second: Part, sign: int = 1) -> Part:
    if second is None:
        return first
    if first is None:
        return second if sign > 0 else -second
    return first + second if sign > 0 else first - second


def _sum(sign: int) -> Callable[..., Tensor]:
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
    return found if beta == 0 else _sum(1)(found, x if beta == 1 else product(x, beta))


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


# --- views ------------------------------------------------------------------------------------------------------------


def _of(func: Any, *axes: int, more: int = 0) -> Callable[..., Any]:
    """Return a view of complex numbers as the same one of pairs: axes are counted from the front.

    axes   which arguments name an axis.   more   how many axes the result has more, which an axis may be counted in.
    """

    def viewed(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        rank = max(x.dim() + more, 1)
        given = [a % rank if place + 1 in axes else a for place, a in enumerate(args)]
        given += [0] * (bool(axes) and not given)
        return _as_complex(func(torch.view_as_real(x), *given, **kwargs))

    return viewed


def _as_complex(found: Any) -> Any:
    if isinstance(found, Tensor):
        return torch.view_as_complex(found)
    return [torch.view_as_complex(one) for one in found]


def _sized(func: Any) -> Callable[..., Any]:
    def viewed(x: Tensor, size: Sequence[int], **kwargs: Any) -> Tensor:
        return torch.view_as_complex(func(torch.view_as_real(x), [*size, 2], **kwargs))

    return viewed


def permuted(x: Tensor, dims: Sequence[int]) -> Tensor:
    """Axes in another order."""
    order = [dim % x.dim() for dim in dims]
    return torch.view_as_complex(torch.view_as_real(x).permute(*order, x.dim()))


def turned(x: Tensor) -> Tensor:
    """A matrix with its axes exchanged."""
    return permuted(x, range(x.dim())[::-1])


VIEWS: dict[Any, Callable[..., Any]] = {
    aten.slice.Tensor: _of(aten.slice.Tensor, 1),
    aten.select.int: _of(aten.select.int, 1),
    aten.split.Tensor: lambda x, size, dim=0: _of(aten.split.Tensor, 2)(x, size, dim),
    aten.split_with_sizes.default: lambda x, sizes, dim=0: _of(aten.split_with_sizes.default, 2)(x, sizes, dim),
    aten.transpose.int: _of(aten.transpose.int, 1, 2),
    aten.unbind.int: _of(aten.unbind.int, 1),
    aten.unsqueeze.default: _of(aten.unsqueeze.default, 1, more=1),
    aten.squeeze.dim: _of(aten.squeeze.dim, 1),
    aten.permute.default: permuted,
    aten.t.default: turned,
    aten.expand.default: _sized(aten.expand.default),
    aten.view.default: _sized(aten.view.default),
}
"""Views that are recorded as such. Others are found by what they show, which takes another number of examples ill."""


# --- Fourier transforms -----------------------------------------------------------------------------------------------

_MATRICES: dict[Any, tuple[StorageWeakRef, torch.Size]] = {}
"""The matrices of transforms that some circuit still holds: layers of one length share theirs."""


def _matrix(key: Any, like: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """Return the matrix [inputs, outputs] of a transform, made by torch's own on the unit vectors."""
    full = (*key, like.dtype, like.device)
    reference, shape = _MATRICES.get(full, (None, None))
    if reference is not None and shape is not None:
        storage = torch.UntypedStorage._new_with_weak_ptr(reference.cdata)
        if storage is not None:
            return torch.empty(0, dtype=like.dtype, device=like.device).set_(storage, 0, shape, (shape[1], 1))
    found = make().contiguous()
    _MATRICES[full] = StorageWeakRef(found.untyped_storage()), found.shape
    return found


def _units(x: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=x.dtype, device=x.device)


def _unit_pairs(x: Tensor, size: int) -> Tensor:
    """Return the unit vectors of `size` pairs, as complex vectors [2 size, size]."""
    return torch.view_as_complex(_units(x, 2 * size).reshape(2 * size, size, 2))


def _mapped(x: Tensor, matrix: Tensor) -> Tensor:
    """Return the last axis of x through a matrix."""
    return torch.nn.functional.linear(x, matrix.mT)


def real_to_complex(x: Tensor, dims: Sequence[int], normalization: int, onesided: bool) -> Tensor:
    """A Fourier transform of real numbers, the half of it that says all, or the whole, along the last of `dims`."""
    *others, dim = dims
    size = x.shape[dim]

    def make() -> Tensor:
        return torch.view_as_real(aten._fft_r2c(_units(x, size), [1], normalization, onesided)).flatten(1)

    found = _mapped(x.movedim(dim, -1), _matrix(("r2c", size, normalization, onesided), x, make))
    found = _of_pairs(found.unflatten(-1, (-1, 2))).movedim(-1, dim)
    return complex_to_complex(found, others, normalization, True) if others else found


def complex_to_complex(x: Tensor, dims: Sequence[int], normalization: int, forward: bool) -> Tensor:
    """A Fourier transform, or its inverse, one axis after the other."""
    pairs = torch.view_as_real(x.resolve_conj())
    for dim in dims:
        axis = dim % x.dim()
        size = x.shape[axis]

        def make(size: int = size, like: Tensor = pairs) -> Tensor:
            return torch.view_as_real(aten._fft_c2c(_unit_pairs(like, size), [1], normalization, forward)).flatten(1)

        rows = pairs.movedim(axis, -2)
        found = _mapped(rows.flatten(-2), _matrix(("c2c", size, normalization, forward), pairs, make))
        pairs = found.unflatten(-1, (size, 2)).movedim(-2, axis)
    return _of_pairs(pairs)


def complex_to_real(x: Tensor, dims: Sequence[int], normalization: int, last_dim_size: int) -> Tensor:
    """The inverse of a half transform along the last of `dims`, and of whole ones along the others before."""
    *others, dim = dims
    x = complex_to_complex(x, others, normalization, False) if others else x
    pairs = torch.view_as_real(x.resolve_conj())
    axis = dim % x.dim()
    size = x.shape[axis]

    def make() -> Tensor:
        return aten._fft_c2r(_unit_pairs(pairs, size), [1], normalization, last_dim_size)

    rows = pairs.movedim(axis, -2).flatten(-2)
    return _mapped(rows, _matrix(("c2r", size, normalization, last_dim_size), pairs, make)).movedim(-1, axis)


# --- the table --------------------------------------------------------------------------------------------------------

_ON_PARTS = (
    aten.alias.default,
    aten.cat.default,
    aten.clone.default,
    aten.constant_pad_nd.default,
    aten.cumsum.default,
    aten.flip.default,
    aten.gather.default,
    aten.index.Tensor,
    aten.index_select.default,
    aten.masked_fill.Scalar,
    aten.mean.default,
    aten.mean.dim,
    aten.neg.default,
    aten.repeat.default,
    aten.roll.default,
    aten.stack.default,
    aten.sum.default,
    aten.sum.dim_IntList,
    aten.tril.default,
    aten.triu.default,
    aten.where.self,
    aten._unsafe_view.default,
)


def _without_format(func: Any) -> Callable[..., Any]:
    """Return a function without the keyword that says how its result is stored: parts have one axis less than pairs."""
    on_both = on_parts(func)

    def plain(*args: Any, memory_format: Any = None, **kwargs: Any) -> Any:
        return on_both(*args, **kwargs)

    return plain


PAIRS: dict[Any, Callable[..., Any]] = {
    **{func: on_parts(func) for func in _ON_PARTS},
    aten.clone.default: _without_format(aten.clone.default),
    aten._to_copy.default: to_copy,
    aten.complex.default: joined,
    aten.polar.default: polar,
    aten.add.Tensor: _sum(1),
    aten.sub.Tensor: _sum(-1),
    aten.rsub.Scalar: lambda x, y, alpha=1: _sum(-1)(y, x, alpha=alpha),
    aten.mul.Tensor: product,
    aten.div.Tensor: quotient,
    aten.reciprocal.default: lambda x: quotient(1.0, x),
    aten.pow.Tensor_Scalar: power,
    aten.mm.default: bilinear(torch.matmul),
    aten.bmm.default: bilinear(torch.matmul),
    aten.addmm.default: added_product,
    aten.baddbmm.default: added_product,
    aten._conj.default: conjugate,
    aten.conj_physical.default: conjugate,
    aten._conj_physical.default: conjugate,
    aten.abs.default: length,
    aten.exp.default: exponential,
    aten._fft_r2c.default: real_to_complex,
    aten._fft_c2c.default: complex_to_complex,
    aten._fft_c2r.default: complex_to_real,
}
"""Op -> the function of complex tensors that does the same on their parts."""


@dataclass(frozen=True)
class OnPairs:
    """An op on complex tensors as a function of pairs: the arguments at `places` are pairs, and what it gives is."""

    function: Callable[..., Any]
    places: frozenset[int]

    @classmethod
    def of(cls, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[OnPairs, tuple[Any, ...]]:
        """Return a function of pairs, and the arguments of one call as it takes them."""
        places = frozenset(place for place, one in enumerate(args) if isinstance(one, Tensor) and one.is_complex())
        return cls(function, places), tuple(of_pairs(one) if i in places else one for i, one in enumerate(args))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = [_of_pairs(one) if place in self.places else one for place, one in enumerate(args)]
        found = self.function(*given, **kwargs)
        return tuple(map(of_pairs, found)) if isinstance(found, tuple | list) else of_pairs(found)


def of_pairs(one: Any) -> Any:
    """Return a complex tensor as pairs, and anything else as it is."""
    return as_pairs(one.resolve_conj()) if isinstance(one, Tensor) and one.is_complex() else one


MAKERS = frozenset({aten._fft_r2c.default, aten.complex.default, aten.polar.default, aten.view_as_complex.default})
"""They make complex numbers of real ones."""


def concerns(func: Any, args: tuple[Any, ...], kwargs: Any) -> bool:
    """Return whether a complex number is among an op's arguments, or is made of them."""
    for one in args:
        if isinstance(one, Tensor):
            if one.is_complex():
                return True
        elif isinstance(one, list | tuple | complex) and _holds_complex(one):
            return True
    dtype = kwargs.get("dtype") if kwargs else None
    return func in MAKERS or (dtype is not None and dtype.is_complex)


def _holds_complex(one: Any) -> bool:
    return isinstance(one, complex) or any(isinstance(part, Tensor) and part.is_complex() for part in one)


def fits(func: Any, args: tuple[Any, ...]) -> bool:
    """Return whether the table's function holds for these arguments."""
    if func is aten.pow.Tensor_Scalar:
        return args[1] in (1, 2, 3, 4)
    if func is aten.constant_pad_nd.default:
        return len(args) < 3 or args[2] == 0
    return func is not aten.masked_fill.Scalar or args[2] == 0
