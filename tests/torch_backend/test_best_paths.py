"""The k best paths against all derivations, listed and sorted."""

from __future__ import annotations

from functools import reduce

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.expand import expand
from provnet.circuit.gates import PLUS, TIMES, VARIABLE
from provnet.circuit.simplify import simplify
from provnet.errors import OptionError, UnsupportedOperationError
from provnet.semirings import (
    Arctic,
    Boolean,
    Bottleneck,
    Fuzzy,
    KBest,
    Lukasiewicz,
    MaxTimes,
    MinPlus,
    Real,
    Security,
    Tropical,
    Viterbi,
    make,
)
from provnet.torch_backend.gates.best_paths import best_paths
from provnet.torch_backend.gates.evaluate_gates import evaluate_every_gate, evaluate_gates
from tests.gate_circuits import make_store, perceptron, recursive, residual
from tests.listed_paths import derivations, modest_stores

UNIT = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
SELECTIVE = {
    "viterbi": (Viterbi(), UNIT),
    "tropical": (Tropical(), st.sampled_from([0.0, 1.0, 2.5, float("inf")])),
    "arctic": (Arctic(), st.sampled_from([float("-inf"), -1.0, 0.0, 2.0])),
    "bottleneck": (Bottleneck(), st.sampled_from([float("-inf"), -1.0, 0.0, 2.0, float("inf")])),
    "bottleneck-int": (Bottleneck(torch.int64), st.sampled_from([-(2**63), -1, 4, 2**63 - 1])),
    "fuzzy": (Fuzzy(), UNIT),
    "lukasiewicz": (Lukasiewicz(), UNIT),
    "max-times": (MaxTimes(), st.sampled_from([0.0, 0.5, 2.0])),
    "min-plus": (MinPlus(), st.sampled_from([float("inf"), -1.0, 0.0, 3.0])),
    "security": (Security(), st.integers(0, 3)),
    "boolean": (Boolean(), st.booleans()),
}


def listed(store, gate, semiring, valuation):
    """The slow twin: (value, variables) of every derivation that is not zero, best first."""
    zero, one = (semiring.full((), element, valuation) for element in (semiring.zero, semiring.one))
    found = [(reduce(semiring.times, [valuation[i] for i in d], one).item(), d) for d in derivations(store, gate)]
    best_first = bool(semiring.one > semiring.zero)
    return sorted((pair for pair in found if pair[0] != zero.item()), key=lambda pair: pair[0], reverse=best_first)


@pytest.mark.parametrize("name", SELECTIVE)
@given(store=modest_stores(gates=7), k=st.integers(1, 12), data=st.data())
@pytest.mark.guarantee("the k best paths are the k best of all paths, with their edges, in every selective semiring")
def test_the_k_best_are_those_of_all(name, store, k, data):
    semiring, elements = SELECTIVE[name]
    dtype = semiring.element_dtype(torch.float64)
    valuation = torch.tensor(data.draw(st.lists(elements, min_size=4, max_size=4)), dtype=dtype)
    for gate in store.root_gates.tolist():
        every = listed(store, gate, semiring, valuation)
        found = best_paths(store, gate, semiring, valuation, k)
        assert [path.value for path in found] == [value for value, _ in every[:k]]
        left = [(value, tuple(sorted(d))) for value, d in every]
        for path in found:  # each is one of them, and none is given twice
            left.remove((path.value, tuple(sorted(path.numbers))))
            assert tuple(store.variables[i] for i in path.numbers) == path.variables


@given(modest_stores(gates=12), st.lists(UNIT, min_size=4, max_size=4))
def test_values_are_those_of_k_best(store, values):
    """KBest finds the values without the edges."""
    valuation = torch.tensor(values, dtype=torch.float64)
    rows = torch.stack([valuation, *[torch.zeros(4, dtype=torch.float64)] * 4], 1)
    for gate, row in zip(store.root_gates.tolist(), evaluate_gates(store, KBest(5, "viterbi"), rows), strict=True):
        assert [path.value for path in best_paths(store, gate, Viterbi(), valuation, 5)] == row[row > 0].tolist()


def test_paths_run_from_the_root_to_the_target():
    store = expand(perceptron(2, 3, 2).circuit(), 1)
    valuation = torch.linspace(0.1, 0.9, len(store.variables))
    for path in best_paths(store, int(store.root_gates[1]), Viterbi(), valuation, 3):
        first, last = path.variables
        assert first.target and last.source
        assert (str(first.source), first.target.path, str(last.target)) == ("x[1]", "fc1", "fc2[1]")
        assert first.target.index == last.source.index
        assert str(path).startswith(f"{path.value:.6g}: fc1[")


@given(modest_stores(gates=12), st.lists(st.integers(-5, 5), min_size=4, max_size=4))
def test_every_gate_has_its_value(store, values):
    valuation = torch.tensor(values, dtype=torch.float64)
    whole = make_store(
        store.kind.tolist(),
        [store.operands_of(g).tolist() for g in range(len(store))],
        store.variable.tolist(),
        4,
        list(range(len(store))),
    )
    wanted = recursive(whole, lambda a, b: a + b, lambda a, b: a * b, 0, 1, lambda v: values[int(v.name[1:])])
    assert evaluate_every_gate(store, Real(), valuation).tolist() == pytest.approx(list(wanted), rel=1e-12)


def test_a_semiring_of_ones_own_will_do():
    own = make(lambda x, y: torch.maximum(x, y), lambda x, y: x * y, 0.0, 1.0, name="own-viterbi", selective=True)
    store = expand(residual().circuit(), 0)
    valuation = torch.rand(len(store.variables), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gate = int(store.root_gates[0])
    assert best_paths(store, gate, own, valuation, 7) == best_paths(store, gate, Viterbi(), valuation, 7)


def test_equal_paths_come_in_the_order_of_the_operands():
    store = expand(perceptron(1, 3, 1).circuit(), 0)
    paths = best_paths(store, int(store.root_gates[0]), Viterbi(), torch.ones(6), 3)
    assert [path.variables[0].name for path in paths] == ["fc1[0<-0]", "fc1[1<-0]", "fc1[2<-0]"]


def test_deep_circuits_need_no_recursion():
    depth = 5000
    operands = [[], *([i, 0] for i in range(depth))]
    store = make_store([VARIABLE] + [PLUS, TIMES] * (depth // 2), operands, [0] + [-1] * depth, 1, [depth])
    found = best_paths(store, depth, Viterbi(), torch.tensor([1.0]), 3)
    assert [path.value for path in found] == [1.0] * 3


@pytest.mark.guarantee("best paths are refused where ⊕ does not choose, and where absorption dropped paths")
def test_what_cannot_be_traced_back_is_refused():
    store = make_store([VARIABLE, VARIABLE, TIMES, PLUS], [[], [], [0, 1], [0, 2]], [0, 1, -1, -1], 2, [3])
    half = torch.tensor([0.5, 0.5])
    for semiring in (Real(), KBest(2, "viterbi")):
        with pytest.raises(UnsupportedOperationError, match="chooses one of two"):
            best_paths(store, 3, semiring, half, 1)
    with pytest.raises(OptionError, match="k=0"):
        best_paths(store, 3, Viterbi(), half, 0)
    small = simplify(store, ["absorptive"])
    assert [p.value for p in best_paths(small, int(small.root_gates[0]), Viterbi(), half, 1)] == [0.5]
    with pytest.raises(UnsupportedOperationError, match="absorption"):
        best_paths(small, int(small.root_gates[0]), Viterbi(), half, 2)
