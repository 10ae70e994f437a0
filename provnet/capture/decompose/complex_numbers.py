"""Complex numbers as pairs of real ones: what is computed with them is recorded as what it does to the pairs.

A complex tensor and the real one that `torch.view_as_real` gives of it are one memory, so a traced complex tensor is
the real value that lies there, with an axis of two behind the others. Views pass as views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from provnet.capture.decompose.complex_parts import (
    added_product,
    bilinear,
    complex_of,
    conjugate,
    exponential,
    joined,
    length,
    on_parts,
    polar,
    power,
    product,
    quotient,
    signed_sum,
    to_copy,
)
from provnet.capture.decompose.fourier import complex_to_complex, complex_to_real, real_to_complex
from provnet.capture.storage_identity import as_pairs

aten = torch.ops.aten

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
    aten.add.Tensor: signed_sum(1),
    aten.sub.Tensor: signed_sum(-1),
    aten.rsub.Scalar: lambda x, y, alpha=1: signed_sum(-1)(y, x, alpha=alpha),
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
        given = [complex_of(one) if place in self.places else one for place, one in enumerate(args)]
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
