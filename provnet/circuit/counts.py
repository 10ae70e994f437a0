"""How large an answer would be, without making it: terms of a polynomial, gates of each kind, depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import KINDS, ONE, PLUS, TIMES, VARIABLE, GateStore

SAFE = 2.0**62
"""A float64 bound below this shows that int64 does not overflow: the bound's error is far less than a factor of 2."""


def count_terms(store: GateStore) -> tuple[int, ...]:
    """Return the number of monomials of every root's polynomial, multiplicities counted: for an unsimplified circuit of
    grain `edge`, its number of paths to the target. Exact Python integers, however large; 0 for a root that is zero.

    It is the evaluation at one of every variable in (ℕ, +, ·). Levels beyond int64 go on in Python integers.
    """
    counts: NDArray = np.zeros(len(store), np.int64)
    counts[(store.kind == ONE) | (store.kind == VARIABLE)] = 1
    bound = counts.astype(np.float64)
    for gates in store.by_level[1:]:
        for kind, combine in ((TIMES, np.multiply), (PLUS, np.add)):
            some = gates[store.kind[gates] == kind]
            if len(some) == 0:
                continue
            operands = store.wires_of(some)[1]
            starts = np.cumsum(store.fan[some]) - store.fan[some]
            with np.errstate(over="ignore", invalid="ignore"):
                bound[some] = combine.reduceat(bound[operands], starts)
            if counts.dtype != object and not (bound[some] < SAFE).all():
                counts = counts.astype(object)
            counts[some] = combine.reduceat(counts[operands], starts)
    return tuple(int(counts[gate]) for gate in store.root_gates)


@dataclass(frozen=True)
class GateStats:
    """The size of a store. `depth` is the number of wires on the longest way from a leaf to a gate."""

    gates: int
    wires: int
    depth: int
    variables: int
    roots: int
    kinds: dict[str, int]


def gate_stats(store: GateStore) -> GateStats:
    """Return how many gates of each kind there are, wires, and the depth."""
    count = np.bincount(store.kind, minlength=len(KINDS)).tolist()
    return GateStats(
        gates=len(store),
        wires=store.wires,
        depth=max(len(store.by_level) - 1, 0),
        variables=len(store.variables),
        roots=len(store.roots),
        kinds=dict(zip(KINDS, count, strict=True)),
    )
