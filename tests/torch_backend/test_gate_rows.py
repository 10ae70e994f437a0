"""Rows are used again, and never while somebody still reads them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from provnet.semirings.real import Real
from provnet.torch_backend.gates.evaluate_gates import evaluate_every_gate, evaluate_gates, plan_of
from provnet.torch_backend.gates.row_allocation import reuse
from tests.gate_circuits import make_store, stores

CPU = torch.device("cpu")


@st.composite
def stages(draw):
    """Sizes of intervals, what each stage reads of those before it, and what is wanted."""
    sizes = [2, draw(st.integers(0, 4)), *draw(st.lists(st.integers(1, 4), max_size=8))]
    reads = []
    for stage in range(len(sizes) - 2):
        below = st.integers(0, sum(sizes[: stage + 2]) - 1)
        reads.append(np.array(draw(st.lists(below, min_size=1, max_size=5)), np.int32))
    wanted = np.array(draw(st.lists(st.integers(0, sum(sizes) - 1), max_size=4)), np.int64)
    return sizes, reads, wanted


@given(stages())
def test_every_reader_finds_the_value_that_was_written(case):
    """Written out: each row holds the number of the value that was last written there."""
    sizes, reads, wanted = case
    rows, count = reuse(sizes, reads, wanted)
    held = np.full(count, -1)
    ends = np.cumsum(sizes)
    held[rows[: ends[1]]] = np.arange(ends[1])
    for stage, values in enumerate(reads):
        mine = np.arange(ends[stage + 1], ends[stage + 2])
        assert (held[rows[values]] == values).all()
        assert not set(rows[mine]) & set(rows[values]), "torch writes some gates before the last operand is read"
        assert (np.diff(rows[mine]) == 1).all()
        held[rows[mine]] = mine
    assert (held[rows[wanted]] == wanted).all()
    assert rows[:2].tolist() == [0, 1]


def test_a_long_chain_needs_few_rows():
    kinds, operands = [2], [[]]
    for _ in range(50):
        operands.append([len(kinds) - 1] * 2)
        kinds.append(3)
    store = make_store(kinds, operands, [0, *[-1] * 50], 1, [50])
    assert plan_of(store, CPU).rows == 2 + 2
    assert plan_of(store, CPU, every=True).rows == 2 + 51
    assert evaluate_gates(store, Real(), torch.ones(1, dtype=torch.float64)).tolist() == [2.0**50]


@given(stores(gates=25))
def test_every_gate_has_the_value_of_its_own(store):
    valuation = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    every = evaluate_every_gate(store, Real(), valuation)
    assert torch.equal(every[torch.from_numpy(store.root_gates).long()], evaluate_gates(store, Real(), valuation))
