"""Quantiles over examples with a bounded relative error and bounded memory: counts in logarithmic bins.

Sketches are counts, so they are joined by adding, exactly, in any order.
Source: Masson, Rim, Lee 2019, DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees.
"""

from __future__ import annotations

from math import ceil, log

import torch
from torch import Tensor

from provnet.errors import LimitError, OptionError, UnsupportedOperationError
from provnet.semirings.base import Semiring

ERROR = 0.05
"""A quantile is at most this share away from an example's value."""
SMALLEST, LARGEST = 1e-9, 1e9
"""Absolute values below the one count as 0, above the other as infinite."""
_STEP = log((1 + ERROR) / (1 - ERROR))
_BINS = ceil(log(LARGEST / SMALLEST) / _STEP)
SIZE = 2 * _BINS + 3
"""−∞, negative bins, zero, positive bins, ∞."""
LIMIT = 1 << 28
"""Bins of one sketch, all classes and neurons together: one GiB."""


def empty_sketch(semiring: Semiring, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return counts [classes, *neurons, bins] of no example. Raises: `LimitError`, `UnsupportedOperationError`."""
    if semiring.element_shape:
        raise UnsupportedOperationError(f"elements of {semiring.name!r} are no numbers, so they have no quantiles.")
    count = SIZE
    for size in shape:
        count *= size
    if count > LIMIT:
        raise LimitError(
            f"a sketch of quantiles for {list(shape)} classes and neurons has {count:,} bins, more than {LIMIT:,}. "
            "Take a smaller tensor, over='positions', or by=None."
        )
    return torch.zeros((*shape, SIZE), dtype=torch.int32, device=like.device)


def _bins(x: Tensor) -> Tensor:
    values = x.double()
    size = values.abs().clamp(SMALLEST, LARGEST)
    number = ((size / SMALLEST).log() / _STEP).ceil().clamp(1, _BINS).to(torch.int64)
    number = torch.where(values.abs() > LARGEST, _BINS + 1, number)
    number = torch.where(values.abs() < SMALLEST, 0, number)
    return torch.where(values < 0, -number, number) + _BINS + 1


def add_to_sketch(state: Tensor, semiring: Semiring, classes: Tensor, x: Tensor) -> Tensor:
    """Count each example's values into the bins of its class."""
    neurons = x[0].numel()
    place = classes[:, None] * neurons + torch.arange(neurons, device=x.device)
    flat = (place * SIZE + _bins(x).reshape(len(x), neurons)).reshape(-1)
    state.view(-1).index_add_(0, flat, torch.ones_like(flat, dtype=state.dtype))
    return state


def quantile_of(state: Tensor, q: float) -> Tensor:
    """Return the quantile q of counts [*neurons, bins]: within `ERROR` of the value of the example of that rank."""
    if not 0 <= q <= 1:
        raise OptionError(f"q={q}; a quantile lies between 0 and 1.")
    counts = state.to(torch.int64).cumsum(-1)
    rank = ((counts[..., -1:] - 1).double() * q).floor().to(torch.int64)
    number = (counts <= rank).sum(-1) - (_BINS + 1)
    middle = SMALLEST * torch.exp(number.abs().double() * _STEP) * (1 - ERROR)
    value = torch.where(number.abs() > _BINS, torch.inf, middle) * number.sign()
    return torch.where(number == 0, 0.0, value)
