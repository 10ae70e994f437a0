"""Exact counts are residues modulo primes: beyond the primes' product they would wrap, so float64 sizes them first."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from math import inf

import numpy as np
import torch
from torch import Tensor

from provnet.errors import CountOverflowError
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.semirings.channels import ChannelSemiring
from provnet.semirings.counting import Counting, size
from provnet.semirings.product import Product


def check_residues(semiring: Semiring, valuation: Tensor, evaluate: Callable[[Semiring, Tensor], Tensor]) -> None:
    """Raise `CountOverflowError` if a root's exact count may exceed what the semiring's primes tell apart.

    Args: `valuation` [batch, variables, *element_shape]; `evaluate` gives the roots of a semiring and valuation.
    What wraps on the way is of no matter. A semiring without residues is left alone; the components of a product are
    looked at one by one. Float64's error is below 1e-9 here, and what it cannot hold is refused.
    """
    if isinstance(semiring, Product):
        for component, part in zip(semiring.components, semiring.split(valuation), strict=True):
            check_residues(component, part, evaluate)
        return
    counting = counting_in(semiring)
    if counting is None or not counting.primes:
        return
    check_size(semiring, counting, evaluate(rough(semiring), decoded(counting, valuation)))


def check_size(semiring: Semiring, counting: Counting, counts: Tensor) -> None:
    """Raise `CountOverflowError` if counts, found in float64, exceed what the primes tell apart."""
    sizes = counts.abs()
    if not bool((sizes < float(counting.largest) * (1 - 1e-6)).all()):  # nor does a NaN, infinity times zero, fit
        most = float(sizes.nan_to_num(nan=inf, posinf=inf).max())
        way_out = "A higher threshold leaves fewer paths."
        if most < inf:
            way_out = f"Give it more primes: Counting('exact', bits={int(most).bit_length() + 1})."
        raise CountOverflowError(
            f"a count of paths may reach {size(most)}; the residues of {semiring!r} tell counts apart up to "
            f"{size(counting.largest)}. {way_out}"
        )


def components(semiring: Semiring, annotation: Annotation) -> list[tuple[Semiring, Annotation]]:
    """Return the parts of a product, of parts that are products too; of another semiring, itself. With each its Θ."""
    if not isinstance(semiring, Product):
        return [(semiring, annotation)]
    inner: tuple[Annotation, ...] = getattr(annotation, "inner", ()) or (annotation,) * len(semiring.components)
    return [part for each in zip(semiring.components, inner, strict=True) for part in components(*each)]


def counting_in(semiring: Semiring) -> Counting | None:
    """Return the counting that a semiring is, or that its channels are made of."""
    while isinstance(semiring, ChannelSemiring):
        semiring = semiring.base
    return semiring if isinstance(semiring, Counting) else None


def rough(semiring: Semiring) -> Semiring:
    """Return the semiring over residues with counts in float64 instead."""
    if isinstance(semiring, Counting):
        return Counting("float64")
    found = copy(semiring)
    assert isinstance(found, ChannelSemiring)
    found.base, found.dtype, found.element_shape = rough(found.base), torch.float64, semiring.element_shape[:-1]
    # Zeros and ones are the same modulo every prime.
    found.zero, found.one = (torch.as_tensor(e)[..., 0].to(torch.float64) for e in (semiring.zero, semiring.one))
    return found


def decoded(counting: Counting, x: Tensor) -> Tensor:
    """Return residues [..., primes] as float64 numbers [...]."""
    small = x[..., 0]
    if bool((x == small.unsqueeze(-1)).all()):  # a number below every prime is its own residue
        return small.to(torch.float64)
    return torch.from_numpy(np.asarray(counting.decode(x), dtype=np.float64)).to(x.device)
