"""Where an execution is cut, against all ways to cut it."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from provnet.capture.segments import Life, choose_cuts, crossing_values


def peak(ops: int, lives: dict[int, Life], cuts: tuple[int, ...]) -> int:
    """By the definition: what some cut parts from its last use, and the largest sum of the rest between two cuts."""
    kept = {v for v, life in lives.items() if any(life.made < cut <= life.last for cut in cuts)}
    largest = max(
        sum(life.size for v, life in lives.items() if first <= life.made < last and v not in kept)
        for first, last in pairwise((0, *cuts, ops))
    )
    return sum(lives[v].size for v in kept) + largest


def test_a_chain_is_cut_near_its_root():
    lives = {n: Life(n, n + 1, 10) for n in range(99)} | {99: Life(99, 99, 10)}
    cuts = choose_cuts(100, lives)
    assert peak(100, lives, cuts) <= 10 * 2 * 10
    assert peak(100, lives, ()) == 1000


def test_a_cut_goes_where_little_crosses():
    """A funnel: of the places near the middle, one is crossed by a single byte."""
    sizes = [50, 50, 1, 50, 50]
    lives = {n: Life(n, min(n + 1, 4), size) for n, size in enumerate(sizes)}
    assert crossing_values(choose_cuts(5, lives), lives) == {2}


@st.composite
def executions(draw: st.DrawFn) -> tuple[int, dict[int, Life]]:
    ops = draw(st.integers(1, 8))
    lives = {n: Life(n, draw(st.integers(n, ops - 1)), draw(st.integers(0, 9))) for n in range(ops)}
    return ops, lives


@given(executions())
def test_cuts_are_in_range_and_never_worse_than_none(given: tuple[int, dict[int, Life]]):
    ops, lives = given
    cuts = choose_cuts(ops, lives)
    assert list(cuts) == sorted(set(cuts))
    assert all(0 < cut < ops for cut in cuts)
    every = [c for count in range(ops) for c in combinations(range(1, ops), count)]
    best = min(peak(ops, lives, c) for c in every)
    assert best <= peak(ops, lives, cuts) <= peak(ops, lives, ())
    assert crossing_values(cuts, lives) == {
        v for v, life in lives.items() if any(life.made < cut <= life.last for cut in cuts)
    }
