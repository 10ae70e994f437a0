"""Trying the laws of a semiring on values, and saying which one fails where."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from provnet.errors import DTypeError, LawError
from provnet.semirings.base import Semiring
from provnet.semirings.laws import JudgedAlgebra, Law, binding


def check_laws(semiring: Semiring, samples: Any = None, *, tolerance: float | None = None) -> None:
    """Try every law that `semiring` promises on all pairs and triples of `samples`.

    Args: `samples` are elements, a tensor [n, *element_shape] or nested lists; zero and one are added. Default: the
    semiring's own `exact_values`. `tolerance` is relative to the larger side or the largest sample; 0 asks for equality
    to the last bit; default: 64 units in the last place of a float dtype, 0 of others.
    Raises: `LawError` with the first law that fails, its statement, the values and both sides; `DTypeError` if plus or
    times changes the dtype.
    Cost: laws * n^3 operations, vectorised; 20 samples take milliseconds. Passing is evidence and no proof.

    >>> from provnet import semirings
    >>> check_laws(semirings.get("viterbi"), [0.25, 0.5])
    """
    found = elements(semiring, samples)
    tolerance = default_tolerance(found.dtype) if tolerance is None else tolerance
    algebra = JudgedAlgebra(semiring, found, tolerance)
    check_kind(semiring, found)
    if bool(algebra.same(algebra.zero(found), algebra.one(found)).any()):
        raise LawError(
            f"the semiring {semiring.name!r} has one element {_show(found[0])} for both zero and one, so every element "
            f"equals zero. Give two."
        )
    for law in binding(semiring):
        check_law(algebra, law)


def default_tolerance(dtype: torch.dtype) -> float:
    """Return the relative difference that rounding may make between two sides of a law: 64 units in the last place."""
    return 64 * torch.finfo(dtype).eps if dtype.is_floating_point else 0.0


def elements(semiring: Semiring, samples: Any = None) -> Tensor:
    """Return zero, one and `samples` (default: the semiring's exact values) as a tensor [n, *element_shape]."""
    exact = semiring.exact_values()
    if samples is None:
        return exact
    found = samples if isinstance(samples, Tensor) else torch.tensor(list(samples), dtype=exact.dtype)
    return torch.cat([exact[:2].to(found), found.reshape(-1, *semiring.element_shape)])


def check_kind(semiring: Semiring, samples: Tensor) -> None:
    """Check that plus and times keep dtype and shape. Raises `DTypeError` and `LawError`."""
    for name, operation in (("plus", semiring.plus), ("times", semiring.times)):
        found = operation(samples, samples)
        if found.dtype != samples.dtype:
            raise DTypeError(
                f"{name} of the semiring {semiring.name!r} turns {samples.dtype} into {found.dtype}. "
                f"Let it keep the dtype, or state the semiring's own: dtype={found.dtype}."
            )
        if found.shape != samples.shape:
            raise LawError(
                f"{name} of the semiring {semiring.name!r} turns elements of shape {tuple(samples.shape)} into "
                f"{tuple(found.shape)}. It must work element by element, as torch.maximum does."
            )


def check_law(algebra: JudgedAlgebra, law: Law) -> None:
    """Try one law on all combinations of the algebra's samples. Raises `LawError` with the first that break it."""
    samples = algebra.samples
    places = torch.cartesian_prod(*(torch.arange(len(samples)),) * law.arity).reshape(-1, law.arity)
    values = [samples[places[:, i]] for i in range(law.arity)]
    left, right = law.sides(algebra, *values)
    holds = algebra.same(left, right)
    if bool(holds.all()):
        return
    first = int((~holds).nonzero()[0])
    given = ", ".join(f"{name} = {_show(value[first])}" for name, value in zip("xyz", values, strict=False))
    remedy = f"Drop the flag {law.flag!r}, or mend plus and times" if law.flag else f"Mend {law.method or 'it'}"
    raise LawError(
        f"the semiring {algebra.semiring.name!r} breaks {law.name}, {law.statement}, at {given}: "
        f"{_show(left[first])} against {_show(right[first])}. {remedy}."
    )


def _show(element: Tensor) -> str:
    return str(element.tolist())
