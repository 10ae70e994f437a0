"""Elements that a user writes, as Python numbers, lists, arrays or tensors: one check into every carrier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from provnet.errors import ValuationError
from provnet.semirings.base import Semiring

WHOLE = (-(2**63), 2**63 - 1)
"""The whole numbers that int64 holds."""


def into_carrier(semiring: Semiring, given: Any, floating: torch.dtype, what: str) -> Tensor:
    """Return `given` as elements of the semiring, [..., *element_shape], with their dtype.

    given      a number, nested lists, an array or a tensor, also a list of tensors.
    floating   the dtype of elements of a semiring that has none of its own.
    what       names `given` in errors, such as "start".
    Raises: `ValuationError` for what is no number, for a Boolean as a number, a fraction as a whole number, a NaN, a
    number that the dtype does not hold, and whatever else lies outside the carrier. Nothing is rounded to a whole
    number, wrapped, or cast to a truth value.

    >>> from provnet.semirings import Boolean
    >>> into_carrier(Boolean(), [0, 1.0], torch.float64, "start")
    tensor([False,  True])
    """
    dtype = semiring.element_dtype(floating)
    found = _read(given, what)
    if found.dtype == torch.bool and dtype != torch.bool and found.numel():
        raise ValuationError(
            f"{what} holds truth values; {semiring.name!r} has elements of dtype {dtype}. Say which numbers they "
            "stand for, such as the semiring's zero and one."
        )
    if found.dtype != dtype:
        found = _converted(semiring, found, dtype, what)
    width = len(semiring.element_shape)
    fitting = found.shape[max(found.dim() - width, 0) :] == torch.Size(semiring.element_shape)
    if fitting and (problem := semiring.outside(found)):
        raise ValuationError(f"{what} leaves the carrier of the semiring {semiring.name!r}: {problem}.")
    return found


def _read(given: Any, what: str) -> Tensor:
    """Return numbers as a tensor of the dtype in which they were written."""
    if isinstance(given, list | tuple) and any(isinstance(part, Tensor) for part in given):
        parts = [_read(part, what) for part in given]
        if len({part.shape for part in parts}) > 1:
            raise ValuationError(
                f"{what} has elements of different shapes: {', '.join(str(list(p.shape)) for p in parts[:4])}."
            )
        if len({part.dtype == torch.bool for part in parts}) > 1:
            raise ValuationError(f"{what} mixes truth values and numbers. Write one or the other.")
        found = torch.stack([part.to(_common(parts)) for part in parts])
    elif isinstance(given, Tensor):
        found = given
    else:
        found = _from_python(given, what)
    if found.is_complex():
        raise ValuationError(f"{what} holds complex numbers; no carrier does. Take .real, .imag or .abs().")
    return found


def _common(parts: list[Tensor]) -> torch.dtype:
    dtype = parts[0].dtype
    for part in parts[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    return dtype


def _from_python(given: Any, what: str) -> Tensor:
    try:
        leaves = np.array(given, dtype=object)
        flat = leaves.reshape(-1).tolist()
    except ValueError as error:
        raise ValuationError(f"{what} has parts of different lengths: {error}.") from error
    kinds = {type(leaf) for leaf in flat}
    truths = [isinstance(leaf, bool | np.bool_) for leaf in flat]
    if any(truths):
        if not all(truths):
            raise ValuationError(f"{what} mixes truth values and numbers. Write one or the other.")
        return torch.tensor(flat, dtype=torch.bool).reshape(leaves.shape)
    for leaf in flat:
        if not isinstance(leaf, int | float | np.integer | np.floating):
            raise ValuationError(f"{what} holds {leaf!r}, a {type(leaf).__name__}; give real numbers.")
    if kinds and all(issubclass(kind, int | np.integer) for kind in kinds):
        for leaf in flat:
            if not WHOLE[0] <= int(leaf) <= WHOLE[1]:
                raise ValuationError(f"{what} holds {leaf}, and int64 holds whole numbers from -2^63 to 2^63 - 1.")
        return torch.tensor([int(leaf) for leaf in flat], dtype=torch.int64).reshape(leaves.shape)
    try:
        numbers = [float(leaf) for leaf in flat]
    except OverflowError as error:
        raise ValuationError(f"{what} holds a whole number that no float holds.") from error
    return torch.tensor(numbers, dtype=torch.float64).reshape(leaves.shape)


def _converted(semiring: Semiring, given: Tensor, dtype: torch.dtype, what: str) -> Tensor:
    """Return numbers in another dtype that holds them. Raises `ValuationError` where it does not."""
    if dtype.is_floating_point:
        found = given.to(dtype)
        if given.is_floating_point() and bool((found.isinf() & ~given.isinf()).any()):
            raise ValuationError(
                f"{what} holds numbers that {dtype} does not: it ends at {torch.finfo(dtype).max:g}. Evaluate in a "
                "wider dtype."
            )
        return found
    wide = given if given.dtype in (torch.float64, torch.int64) else given.cpu().to(torch.float64)
    if given.dtype in (torch.int8, torch.int16, torch.int32, torch.uint8, torch.uint16, torch.uint32):
        wide = given.to(torch.int64)
    if dtype == torch.bool:
        if not bool(((wide == 0) | (wide == 1)).all()):
            raise ValuationError(
                f"{what} leaves the carrier of the semiring {semiring.name!r}: it holds truth values, 0 and 1."
            )
        return wide.to(dtype).to(given.device)
    if wide.is_floating_point() and not bool(((wide == wide.round()) & (wide.abs() < 2.0**63)).all()):
        raise ValuationError(
            f"{what} leaves the carrier of the semiring {semiring.name!r}: it takes whole numbers that {dtype} holds."
        )
    found = wide.to(dtype)
    if bool((found != wide).any()):
        raise ValuationError(f"{what} holds whole numbers that {dtype} does not.")
    return found.to(given.device)
