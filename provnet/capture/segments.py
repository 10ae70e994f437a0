"""Where to cut an execution, so that keeping what crosses the cuts and making one stretch again takes least memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

TRIES = 24
"""Sizes of a stretch that are tried, each half of the one before."""


@dataclass(frozen=True)
class Life:
    """One value that an op makes: from op `made` on, it is looked at for the last time by op `last`; `size` bytes."""

    made: int
    last: int
    size: int


def choose_cuts(ops: int, lives: Mapping[int, Life]) -> tuple[int, ...]:
    """Return where to cut `ops` ops into stretches: cut c parts op c - 1 from op c. Empty: nothing is gained.

    What a stretch needs of those before it is what lives across its cut. The best of a few greedy ways by peak memory:
    all that crosses cuts, and the largest stretch. With n equal steps that is near 2·√n of them. Source: Chen et al.
    2016, Training Deep Nets with Sublinear Memory Cost.
    """
    made, crossing = [0] * ops, [0] * (ops + 1)
    for life in lives.values():
        made[life.made] += life.size
        for cut in range(life.made + 1, life.last + 1):
            crossing[cut] += life.size
    total = sum(made)
    ways = [_greedy(made, crossing, total / 2**n) for n in range(TRIES)]
    return min(ways, key=lambda cuts: _peak(made, cuts, lives))


def crossing_values(cuts: Sequence[int], lives: Mapping[int, Life]) -> set[int]:
    """Return the values that live across one of the cuts: they are to be kept."""
    return {value for value, life in lives.items() if any(life.made < cut <= life.last for cut in cuts)}


def _greedy(made: list[int], crossing: list[int], size: float) -> tuple[int, ...]:
    """Cut where a stretch reaches `size` bytes, there among the places of its second half where least crosses."""
    cuts: list[int] = []
    start, held = 0, 0
    for op, more in enumerate(made):
        held += more
        if held < size or op + 1 == len(made):
            continue
        half = (start + op + 1) // 2
        cut = min(range(op + 1, max(half, start), -1), key=lambda place: crossing[place])
        cuts.append(cut)
        start, held = cut, sum(made[cut : op + 1])
    return tuple(cuts)


def _peak(made: list[int], cuts: tuple[int, ...], lives: Mapping[int, Life]) -> int:
    kept = crossing_values(cuts, lives)
    again = list(made)
    for value in kept:
        again[lives[value].made] -= lives[value].size
    ends = (0, *cuts, len(made))
    largest = max(sum(again[first:last]) for first, last in pairwise(ends))
    return sum(lives[value].size for value in kept) + largest
