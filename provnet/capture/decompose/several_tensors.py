"""Functions of several traced tensors, and ops with several results, by those of one: maxima, sums, norms, products."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest and the largest entry along an axis, or of all."""
    dims = [] if dim is None else [dim]
    return x.amin(dims, keepdim), x.amax(dims, keepdim)


def clamp(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """min(max(x, low), high)."""
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def clamp_below(x: Tensor, high: Tensor) -> Tensor:
    """min(x, high)."""
    return torch.minimum(x, high)


def _beside(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(first, second), -1)


def hypot(first: Tensor, second: Tensor) -> Tensor:
    """The length of the vector of both."""
    return torch.linalg.vector_norm(_beside(first, second), dim=-1)


def logaddexp(first: Tensor, second: Tensor) -> Tensor:
    """log(exp x + exp y)."""
    return _beside(first, second).logsumexp(-1)


def logaddexp2(first: Tensor, second: Tensor) -> Tensor:
    """log2(2^x + 2^y)."""
    return (_beside(first, second) * log(2)).logsumexp(-1) / log(2)


def xlogy(first: Tensor, second: Tensor) -> Tensor:
    """x · log y, which is 0 where x is."""
    return first * torch.where(first == 0, 1, second).log()


def distance(first: Tensor, second: Tensor, p: float = 2) -> Tensor:
    """|x - y|, all entries together."""
    return torch.linalg.vector_norm(first - second, p)


def cross(first: Tensor, second: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors along an axis of size three: two products of turned vectors, one from the other."""
    ahead = first.roll(-1, dim) * second.roll(-2, dim)
    return ahead - first.roll(-2, dim) * second.roll(-1, dim)


def addr(x: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta · x + alpha · the outer product of two vectors."""
    outer = first.unsqueeze(1) * second.unsqueeze(0) * alpha
    return outer if beta == 0 else x * beta + outer


def nansum(x: Tensor, dim: list[int] | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of what is a number."""
    return torch.where(x.isnan(), 0, x).sum(dim, keepdim, dtype=dtype)


def scatter_mean(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """The mean of the entries that an index brings together: their sum by their number."""
    ones, none = torch.ones_like(source), torch.zeros_like(x)
    count = (torch.ones_like(x) if include_self else none).scatter_add(dim, index, ones)
    # What nothing is brought to keeps its own entry, whether or not that counts elsewhere.
    start = x if include_self else torch.where(count == 0, x, none)
    return start.scatter_add(dim, index, source) / count.clamp(min=1)


TABLE: dict[Any, Callable[..., Any]] = {
    aten.aminmax.default: aminmax,
    aten.clamp.Tensor: clamp,
    aten.clamp_min.Tensor: clamp,
    aten.clamp_max.Tensor: clamp_below,
    aten.hypot.default: hypot,
    aten.logaddexp.default: logaddexp,
    aten.logaddexp2.default: logaddexp2,
    aten.xlogy.Tensor: xlogy,
    aten.dist.default: distance,
    aten.linalg_cross.default: cross,
    aten.addr.default: addr,
    aten.nansum.default: nansum,
    aten.scatter_reduce.two: scatter_mean,
}
BOTH = frozenset({aten.hypot.default})
"""With one of their tensors constant, these are functions of each entry that have a rule as they are."""
BOUNDS = frozenset({aten.clamp.Tensor, aten.clamp_min.Tensor, aten.clamp_max.Tensor})
"""With constant bounds likewise."""


def applies(func: Any, args: tuple[Any, ...], is_active: Callable[[Tensor], bool]) -> bool:
    """Return whether an op of the table is to be taken apart."""
    traced = [isinstance(a, Tensor) and is_active(a) for a in args]
    if func in BOTH:
        return all(traced)
    if func in BOUNDS:
        return any(traced[1:])
    return func is not aten.scatter_reduce.two or args[4] == "mean"
