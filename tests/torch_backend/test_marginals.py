"""Marginals in values, on gates and on blocks: against the paths, listed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.expand import expand
from provnet.circuit.simplify import simplify
from provnet.errors import UnsupportedOperationError
from provnet.semirings import Boolean, Counting, Graded, NonNegative, Viterbi
from provnet.torch_backend.gates.evaluate_gates import evaluate_gates
from provnet.torch_backend.gates.gate_marginals import adjoint_of, gate_marginals
from tests.gate_circuits import residual
from tests.listed_paths import modest_stores, polynomials, through, total

UNIT = st.sampled_from([0.0, 0.25, 0.5, 1.0])
CHOSEN = st.lists(st.integers(0, 3), min_size=4, max_size=4)


@given(modest_stores(gates=9), CHOSEN)
def test_marginals_in_numbers(store, values):
    named = {f"v{i}": value for i, value in enumerate(values)}
    found = gate_marginals(store, Counting(), torch.tensor(values))
    whole = sum(polynomials(store), Counter())
    assert found.tolist() == [total(through(whole, name), named) for name in named]


@given(
    modest_stores(gates=9), st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=4, max_size=4), st.integers(0, 3)
)
def test_the_best_path_through_each_variable(store, values, at):
    (root,) = store.roots[at % len(store.roots) : at % len(store.roots) + 1]
    number = store.roots.index(root)
    monomials = polynomials(store)[number]
    wanted = [
        max(
            (total(Counter({m: 1}), {f"v{i}": v for i, v in enumerate(values)}) for m in monomials if x in m),
            default=0.0,
        )
        for x in ("v0", "v1", "v2", "v3")
    ]
    assert gate_marginals(store, Viterbi(), torch.tensor(values, dtype=torch.float64), [number]).tolist() == wanted


@given(modest_stores(gates=12), st.lists(st.booleans(), min_size=8, max_size=8))
def test_marginals_are_batched_as_valuations_are(store, values):
    valuation = torch.tensor(values).reshape(2, 4)
    both = gate_marginals(store, Boolean(), valuation)
    assert torch.equal(both, torch.stack([gate_marginals(store, Boolean(), row) for row in valuation]))


def test_the_edges_of_a_cut_sum_up_to_the_root():
    store = expand(residual().circuit(), 0)
    valuation = torch.rand(len(store.variables), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cut = [i for i, v in enumerate(store.variables) if v.path == "fc2"]
    for number, value in enumerate(evaluate_gates(store, NonNegative(), valuation)):
        marginals = gate_marginals(store, NonNegative(), valuation, [number])
        assert float(marginals[cut].sum()) == pytest.approx(float(value), rel=1e-12)
    assert adjoint_of(store, [0]) is adjoint_of(store, [0])


def test_wider_elements_have_marginals_too():
    store = expand(residual().circuit(), 0)
    graded = Graded("counting", 4)
    rows = torch.zeros(len(store.variables), 5, dtype=torch.int64)
    rows[:, 1] = 1
    assert torch.equal(
        gate_marginals(store, graded, rows).sum(1), gate_marginals(store, Counting(), rows[:, 1].contiguous())
    )


def test_what_does_not_commute_is_refused():
    class Words(Counting):
        name, commutative = "words", False

    store = simplify(expand(residual().circuit(), 0))
    with pytest.raises(UnsupportedOperationError, match="commutative"):
        gate_marginals(store, Words(), torch.ones(len(store.variables), dtype=torch.int64))
