"""Exact probabilities against the sum over all worlds, in fractions."""

from __future__ import annotations

import operator
from fractions import Fraction
from itertools import product
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.decision_diagram import probability
from provnet.circuit.expand import expand
from provnet.circuit.gates import PLUS, TIMES, VARIABLE
from provnet.errors import LimitError
from tests.gate_circuits import make_store, perceptron, recursive, stores

CHANCES = st.lists(st.fractions(0, 1, max_denominator=7), min_size=4, max_size=4)


def by_worlds(store, chances):
    """P(root) = Σ over the worlds in which it is true."""
    total = [Fraction(0)] * len(store.roots)
    for world in product([False, True], repeat=len(chances)):
        weight = prod(p if there else 1 - p for p, there in zip(chances, world, strict=True))
        named = dict(zip((v.name for v in store.variables), world, strict=True))
        found = recursive(store, operator.or_, operator.and_, False, True, lambda v, named=named: named[v.name])
        total = [t + weight * bool(f) for t, f in zip(total, found, strict=True)]
    return tuple(total)


@given(stores(gates=14), CHANCES)
@pytest.mark.guarantee("the exact probability of a relevant path is the sum over all worlds, without rounding")
def test_the_probability_is_the_sum_over_all_worlds(store, chances):
    assert probability(store, chances, Fraction(0), Fraction(1)) == by_worlds(store, chances)


def test_two_paths_that_share_an_edge():
    """x(y + z): p · (1 − (1 − p)²), not the 1 − (1 − p²)² of independent paths."""
    store = make_store([VARIABLE] * 3 + [PLUS, TIMES], [[], [], [], [1, 2], [0, 3]], [0, 1, 2, -1, -1], 3, [4])
    assert probability(store, [Fraction(1, 2)] * 3, Fraction(0), Fraction(1)) == (Fraction(3, 8),)


def test_a_diagram_above_its_limit_is_refused():
    store = expand(perceptron(4, 5, 5, 2).circuit(), 0)
    with pytest.raises(LimitError, match="limit=50"):
        probability(store, [0.5] * len(store.variables), 0.0, 1.0, limit=50)


def test_depth_is_no_matter():
    """x0 ⊗ (x1 ⊗ (x2 ⊗ …)) ⊕ the last of them, which absorbs the product: the diagrams meet at the bottom only."""
    count = 3000
    chain = [[count - 2, count - 1], *([i, 2 * count - 3 - i] for i in reversed(range(count - 2)))]
    top = count + len(chain) - 1
    operands = [*([] for _ in range(count)), *chain, [top, count - 1]]
    kinds = [VARIABLE] * count + [TIMES] * len(chain) + [PLUS]
    store = make_store(kinds, operands, [*range(count)] + [-1] * count, count, [top, top + 1])
    assert probability(store, [0.5] * count, 0.0, 1.0) == (0.5**count, 0.5)
