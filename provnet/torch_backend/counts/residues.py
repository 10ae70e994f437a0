"""Exact counts are residues modulo primes: beyond the primes' product they would wrap, so float64 sizes them first."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import torch
from torch import Tensor

from provnet.errors import CountOverflowError
from provnet.semirings.base import Semiring
from provnet.semirings.counting import size


def check_residues(semiring: Semiring, valuation: Tensor, evaluate: Callable[[Semiring, Tensor], Tensor]) -> None:
    """Raise `CountOverflowError` if a root's exact count may exceed what the semiring's primes tell apart.

    Args: `valuation` [batch, variables, *element_shape]; `evaluate` gives the roots of a semiring and valuation.
    What wraps on the way is of no matter. A semiring without residues is left alone; the components of a product are
    looked at one by one. Float64's error is below 1e-9 here, and what it cannot hold is refused.
    """
    for part, _, (values,) in semiring.parts(None, valuation):
        if part.residues:
            _check_size(part, evaluate(part.held("float64"), _decoded(part, values)))


def _check_size(semiring: Semiring, counts: Tensor) -> None:
    """Raise `CountOverflowError` if counts, found in float64, exceed what the primes tell apart."""
    sizes = counts.abs()
    if not bool((sizes < float(semiring.largest) * (1 - 1e-6)).all()):  # nor does a NaN, infinity times zero, fit
        most = float(sizes.nan_to_num(nan=inf, posinf=inf).max())
        way_out = "A higher threshold leaves fewer paths."
        if most < inf:
            way_out = f"Give it more primes: Counting('exact', bits={int(most).bit_length() + 1})."
        raise CountOverflowError(
            f"a count of paths may reach {size(most)}; the residues of {semiring!r} tell counts apart up to "
            f"{size(semiring.largest)}. {way_out}"
        )


def _decoded(semiring: Semiring, x: Tensor) -> Tensor:
    """Return residues [..., primes] as float64 numbers [...]."""
    small = x[..., 0]
    if bool((x == small.unsqueeze(-1)).all()):  # a number below every prime is its own residue
        return small.to(torch.float64)
    return torch.from_numpy(np.asarray(semiring.decode(x), dtype=np.float64)).to(x.device)
