"""Both ways to expand give the polynomial of the definition: all paths at once, and gate by gate."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore
from provnet.circuit.hash_cons import restrict
from provnet.symbolic import polynomial_rows
from provnet.symbolic.expand_polynomial import expand, gate_by_gate
from provnet.symbolic.unfold import rough_paths, unfold
from tests.gate_circuits import make_store
from tests.listed_paths import modest_stores, polynomials


def spelled(found: polynomial_rows.PolynomialRows) -> Counter:
    """Return rows as {sorted tuple of variable names: coefficient}, and check that they are in order and distinct."""
    listed = found.rows.tolist()
    assert listed == sorted(listed)
    assert len({tuple(row) for row in listed}) == len(listed)
    shown = [tuple(f"v{i}" for i in row if i != polynomial_rows.EMPTY) for row in listed]
    return Counter(dict(zip(shown, found.coefficients.tolist(), strict=True)))


@given(modest_stores(gates=10), st.integers(0, 3))
def test_both_ways_give_the_polynomial(store: GateStore, at: int):
    one = restrict(store, [at % len(store.roots)])
    (wanted,) = polynomials(one)
    whole = unfold(one, 10**9)
    assert whole is not None
    assert spelled(whole) == spelled(gate_by_gate(one, 2000)) == spelled(expand(one, 2000)) == wanted
    assert rough_paths(one) == sum(wanted.values())


@pytest.mark.parametrize("variables", [3, 10**7])
def test_rows_too_long_for_one_number_are_counted_all_the_same(variables):
    """(x + y)^4: with ten million variables four of them do not fit 62 bits."""
    kinds = [VARIABLE, VARIABLE, PLUS, TIMES]
    store = make_store(kinds, [[], [], [0, 1], [2] * 4], [0, variables - 1, -1, -1], 0, [3])
    found = unfold(GateStore(**{**vars(store), "variables": range(variables)}), 10**6)
    assert found is not None
    assert found.coefficients.tolist() == [1, 4, 6, 4, 1]
    assert (found.rows == variables - 1).sum(1).tolist() == [0, 1, 2, 3, 4]


def test_what_is_too_large_is_left_to_the_other_way():
    kinds, operands = [VARIABLE, PLUS], [[], [0, 0]]
    for _ in range(60):
        kinds.append(TIMES)
        operands.append([len(kinds) - 2] * 2)
    store = make_store(kinds, operands, [0] + [-1] * 61, 1, [61])
    assert not rough_paths(store) <= 1e300
    assert unfold(store, 1000) is None
    square = make_store([VARIABLE, PLUS, TIMES], [[], [0] * 3, [1] * 5], [0, -1, -1], 1, [2])
    assert expand(square, 10).coefficients.tolist() == [3**5]


def test_zero_and_one():
    zero = make_store([ZERO, VARIABLE, TIMES], [[], [], [0, 1]], [-1, 0, -1], 1, [2])
    assert spelled(expand(zero, 10)) == Counter()
    one = make_store([ONE, PLUS], [[], [0, 0]], [-1, -1], 0, [1])
    assert spelled(expand(one, 10)) == Counter({(): 2})
    assert np.array_equal(expand(one, 10).coefficients, [2])
