"""Path lengths without expansion, against polynomials that are expanded."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from provnet.circuit.expand import expand
from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE
from provnet.circuit.lengths import degree_bounds, path_lengths
from tests.gate_circuits import make_store, residual
from tests.listed_paths import modest_stores, polynomials


def lengths_of(polynomial) -> Counter[int]:
    found: Counter[int] = Counter()
    for monomial, count in polynomial.items():
        found[len(monomial)] += count
    return found


@given(modest_stores(gates=10))
@pytest.mark.guarantee("the distribution of path lengths, found without expansion, is that of the expanded polynomial")
def test_lengths_are_those_of_the_monomials(store):
    wanted = [lengths_of(polynomial) for polynomial in polynomials(store)]
    assert list(path_lengths(store)) == wanted
    every = [length for found in wanted for length in found]
    assert degree_bounds(store) == ((min(every), max(every)) if every else (0, 0))


def test_a_skip_mixes_lengths():
    store = expand(residual().circuit(), 0)
    lengths = path_lengths(store)
    assert list(lengths) == [lengths_of(polynomial) for polynomial in polynomials(store)]
    assert set(lengths[0]) == {3, 4, 2} or len(lengths[0]) > 1


def test_counts_of_any_size():
    """(x + x) squared a hundred times over: 2^(2^7) paths of length 2^7."""
    kinds, operands = [VARIABLE, PLUS], [[], [0, 0]]
    for _ in range(7):
        kinds.append(TIMES)
        operands.append([len(kinds) - 2] * 2)
    store = make_store(kinds, operands, [0] + [-1] * 8, 1, [8])
    assert path_lengths(store) == (Counter({128: 2**128}),)
    assert path_lengths(make_store([ONE], [[]], [-1], 0, [0])) == (Counter({0: 1}),)
