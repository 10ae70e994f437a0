"""Folds: how the relevance of many examples becomes one tensor.

A fold reads one or two **accumulators**, which are what is kept: each is a commutative monoid on tensors
[classes, *neurons], so that batches, checkpoints and workers can be joined in any grouping. Sums of floats are kept in
float64 and depend on the grouping in their last bits; everything else is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from provnet.applications.datasets.sketch import add_to_sketch, empty_sketch
from provnet.errors import CountOverflowError, UnsupportedOperationError
from provnet.semirings.base import Semiring

LARGEST = float(2**62)


@dataclass(frozen=True)
class Accumulator:
    """A monoid over examples: `empty(semiring, shape, like)`, `add(state, semiring, classes, x)` and
    `join(semiring, x, y)`.

    `add` may write into the state; x is [batch, *neurons, *element], `classes` the class of each example. One that sums
    has a `part(semiring, classes, count, x)`, [count, *neurons]: what a batch adds to the states of `count` classes.
    Tensors that share their memory, as those on both sides of a ReLU do, need it once.
    """

    empty: Callable[[Semiring, tuple[int, ...], Tensor], Tensor]
    add: Callable[[Tensor, Semiring, Tensor, Tensor], Tensor]
    join: Callable[[Semiring, Tensor, Tensor], Tensor]
    part: Callable[[Semiring, Tensor, int, Tensor], Tensor] | None = None


def _summing(
    empty: Callable[[Semiring, tuple[int, ...], Tensor], Tensor],
    part: Callable[[Semiring, Tensor, int, Tensor], Tensor],
) -> Accumulator:
    """Return the accumulator that adds up parts."""
    return Accumulator(
        empty,
        lambda state, semiring, classes, x: add_part(state, part(semiring, classes, len(state), x)),
        lambda semiring, x, y: x + y,
        part,
    )


def add_part(state: Tensor, part: Tensor) -> Tensor:
    """Add what a batch gave to a state. Raises: `CountOverflowError` for sums that may not fit."""
    if not state.is_floating_point() and state.numel():
        _check_fits(largest(state) + largest(part))
    return state.add_(part)


def largest(x: Tensor) -> float:
    """Return the largest size of whole numbers, 0 of none."""
    return max(abs(int(end)) for end in x.aminmax()) if x.numel() else 0.0


def _check_fits(bound: float) -> None:
    if bound > LARGEST:
        raise CountOverflowError(
            f"sums of counts over this dataset may exceed 2^62 (about {bound:.3g}). Sweep with "
            "semiring=provnet.semirings.Counting('float64'), or fewer examples at a time."
        )


def nonzero(semiring: Semiring, x: Tensor) -> Tensor:
    """Return where elements are not the semiring's zero: which neurons are relevant at all. [batch, *neurons]."""
    if x.dtype == torch.bool and semiring.zero is False and not semiring.element_shape:
        return x
    differs = x != semiring.full((), semiring.zero, x)
    return differs.flatten(x.dim() - len(semiring.element_shape)).any(-1) if semiring.element_shape else differs


PIECE = 1 << 16
"""Floats that are summed at a time: in float64 they stay in the processor's cache from one step to the next."""


def _sum_by_class(classes: Tensor, count: int, x: Tensor, sizes: bool = False) -> Tensor:
    """Return the sums of x, or of |x| if `sizes`, over the examples of each class, [count, *neurons], in float64 or
    int64."""
    if x.dtype == torch.bool:
        return _counted(classes, count, x)
    if x.is_floating_point():
        return _float_sums(classes, count, x.reshape(len(x), -1), sizes).reshape(count, *x.shape[1:])
    low, high = (int(end) for end in x.aminmax()) if x.numel() else (0, 0)
    x = x.abs() if sizes and low < 0 else x
    if max(-low, high) * len(x) > LARGEST:  # only then it is looked at which neurons they are
        _check_fits(float(x.double().abs().sum(0).amax()))
    if count == 1:
        return x.sum(0, dtype=torch.int64)[None]
    found = torch.zeros((count, *x.shape[1:]), dtype=torch.int64, device=x.device)
    return found.index_add_(0, classes, x.to(torch.int64))


def _float_sums(classes: Tensor, count: int, x: Tensor, sizes: bool) -> Tensor:
    """Return the sums of rows over the examples of each class, in float64: products with a 0/1 matrix, some rows at a
    time."""
    if count == 1 and x.numel() <= 4 * PIECE:
        return (x.abs() if sizes else x).sum(0, dtype=torch.float64)[None]
    chosen = torch.nn.functional.one_hot(classes, count).to(torch.float64).T
    found = torch.zeros((count, x.shape[1]), dtype=torch.float64, device=x.device)
    step = max(PIECE // max(x.shape[1], 1), 1)
    for rows, mine in zip(x.split(step), chosen.split(step, 1), strict=True):
        wide = rows.to(torch.float64, copy=True)
        found.addmm_(mine, wide.abs_() if sizes else wide)
    return found


def _counted(classes: Tensor, count: int, x: Tensor) -> Tensor:
    """Return how many examples of each class are true, [count, *neurons]."""
    if count == 1:
        return x.view(torch.uint8).sum(0, dtype=torch.int32)[None].to(torch.int64)
    # Counts of a batch are far below 2^24, so that float32 sums them exactly, and fast.
    chosen = torch.nn.functional.one_hot(classes, count).float()
    return (chosen.T @ x.reshape(len(x), -1).float()).to(torch.int64).reshape(count, *x.shape[1:])


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.is_floating_point() else torch.int64


def _numbers(semiring: Semiring, fold: str) -> None:
    if semiring.element_shape:
        raise UnsupportedOperationError(
            f"the fold {fold!r} is of numbers, and an element of {semiring.name!r} is a tensor of shape "
            f"{semiring.element_shape}. Take 'plus', 'any', 'all' or 'frequency'."
        )


def _total(sizes: bool = False, finite_only: bool = False) -> Accumulator:
    def empty(semiring: Semiring, shape: tuple[int, ...], like: Tensor) -> Tensor:
        _numbers(semiring, "mean")
        return torch.zeros(shape, dtype=_sum_dtype(like), device=like.device)

    def part(semiring: Semiring, classes: Tensor, count: int, x: Tensor) -> Tensor:
        if finite_only and x.is_floating_point():
            x = torch.where(torch.isfinite(x), x, torch.zeros((), dtype=x.dtype, device=x.device))
        found = _sum_by_class(classes, count, x, sizes)
        # A sum is finite only if every number is; that of finite numbers may not be, and then they are looked at.
        if found.is_floating_point() and not bool(torch.isfinite(found.sum())) and not bool(torch.isfinite(x).all()):
            raise UnsupportedOperationError(
                f"the mean of {semiring.name!r} over examples is infinite wherever one of them has no path. Take "
                "'mean_finite', the mean over the examples that have one, beside 'frequency', the share of these."
            )
        return found

    return _summing(empty, part)


def _count(of: Callable[[Semiring, Tensor], Tensor]) -> Accumulator:
    def empty(semiring: Semiring, shape: tuple[int, ...], like: Tensor) -> Tensor:
        shape = shape[: len(shape) - len(semiring.element_shape)]
        return torch.zeros(shape, dtype=torch.int64, device=like.device)

    def part(semiring: Semiring, classes: Tensor, count: int, x: Tensor) -> Tensor:
        return _counted(classes, count, of(semiring, x).contiguous())

    return _summing(empty, part)


def _extreme(largest: bool) -> Accumulator:
    join = torch.maximum if largest else torch.minimum
    fold = torch.amax if largest else torch.amin

    def empty(semiring: Semiring, shape: tuple[int, ...], like: Tensor) -> Tensor:
        _numbers(semiring, "max" if largest else "min")
        if like.dtype == torch.bool:
            return torch.full(shape, not largest, dtype=torch.bool, device=like.device)
        info = torch.iinfo(like.dtype) if not like.is_floating_point() else None
        ends = (float("inf"), float("-inf")) if info is None else (info.max, info.min)
        return torch.full(shape, ends[largest], dtype=like.dtype, device=like.device)

    def add(state: Tensor, semiring: Semiring, classes: Tensor, x: Tensor) -> Tensor:
        for one in classes.unique().tolist():
            state[one] = join(state[one], fold(x[classes == one], 0))
        return state

    return Accumulator(empty, add, lambda semiring, x, y: join(x, y))


def _empty_plus(semiring: Semiring, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return semiring.full(shape[: len(shape) - len(semiring.element_shape)], semiring.zero, like)


def _add_plus(state: Tensor, semiring: Semiring, classes: Tensor, x: Tensor) -> Tensor:
    for one in classes.unique().tolist():
        state[one] = _join_plus(semiring, state[one], semiring.sum(x[classes == one], 0))
    return state


def _join_plus(semiring: Semiring, x: Tensor, y: Tensor) -> Tensor:
    if semiring.wraps and float(x.double().abs().amax() + y.double().abs().amax()) > LARGEST:
        raise CountOverflowError("⊕ over this dataset exceeds 2^62. Sweep with semirings.Counting('float64').")
    return semiring.plus(x, y)


ACCUMULATORS: dict[str, Accumulator] = {
    "total": _total(),
    "finite_total": _total(finite_only=True),
    "absolute_total": _total(sizes=True),
    "relevant": _count(nonzero),
    "finite": _count(lambda semiring, x: torch.isfinite(x) if x.is_floating_point() else torch.ones_like(x).bool()),
    "min": _extreme(largest=False),
    "max": _extreme(largest=True),
    "plus": Accumulator(_empty_plus, _add_plus, _join_plus),
    "sketch": Accumulator(empty_sketch, add_to_sketch, lambda semiring, x, y: x + y),
}


@dataclass(frozen=True)
class Fold:
    """What a fold keeps, what it shows of it and of the number of examples, and what that means.

    `show(parts, examples)` gets the accumulators' states for one set of examples. `of_none`: whether it has a value
    over no example.
    """

    accumulators: tuple[str, ...]
    show: Callable[[tuple[Tensor, ...], int], Tensor]
    meaning: str
    of_none: bool = False


def _ratio(parts: tuple[Tensor, ...], examples: int) -> Tensor:
    return parts[0].double() / examples


FOLDS: dict[str, Fold] = {
    "plus": Fold(("plus",), lambda p, n: p[0], "the ⊕ over examples", of_none=True),
    "mean": Fold(("total",), _ratio, "the mean over examples"),
    "mean_abs": Fold(("absolute_total",), _ratio, "the mean of absolute values"),
    "mean_finite": Fold(
        ("finite_total", "finite"), lambda p, n: p[0].double() / p[1], "the mean over the examples where it is finite"
    ),
    "min": Fold(("min",), lambda p, n: p[0], "the least"),
    "max": Fold(("max",), lambda p, n: p[0], "the greatest"),
    "any": Fold(("relevant",), lambda p, n: p[0] > 0, "relevant in some example: an OR mask", of_none=True),
    "all": Fold(("relevant",), lambda p, n: p[0] == n, "relevant in every example: an AND mask"),
    "frequency": Fold(("relevant",), _ratio, "the share of examples in which it is relevant"),
    "count": Fold(("relevant",), lambda p, n: p[0], "in how many examples it is relevant", of_none=True),
    "quantiles": Fold(("sketch",), lambda p, n: p[0], "a sketch; ask tally.quantile"),
}
"""Relevant means: not the semiring's zero."""
