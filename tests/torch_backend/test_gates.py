"""Jagged diagonals give what recursion gives: exactly in exact semirings, in the stated tolerance for floats."""

from __future__ import annotations

import operator
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from provnet.circuit.expand import expand
from provnet.circuit.gates import PLUS, TIMES, VARIABLE
from provnet.circuit.simplify import simplify
from provnet.circuit.variables import numbers_of
from provnet.errors import DTypeError, NonFiniteError, UnsupportedOperationError, ValuationError
from provnet.semirings.base import Semiring
from provnet.torch_backend.gates import evaluate_gates as module
from provnet.torch_backend.gates.evaluate_gates import as_tensor, evaluate_gates, plan_of
from provnet.torch_backend.gates.gate_plan import FAN
from tests.gate_circuits import convolutional, make_store, perceptron, recursive, residual, stores

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


class Numbers(Semiring):
    """(+, ×) on any dtype."""

    name, zero, one = "numbers", 0, 1

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y


class Naturals(Numbers):
    name, dtype = "naturals", torch.int64


class Truth(Semiring):
    name, zero, one, dtype = "truth", False, True, torch.bool
    idempotent = absorptive = True

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return x | y

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return x & y


class Lattice(Semiring):
    name, zero, one = "lattice", float("-inf"), float("inf")

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(x, y)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.minimum(x, y)


class Dual(Semiring):
    """Pairs (p, r) with (p, r) (p', r') = (p p', p r' + r p'): elements on a trailing axis."""

    name, element_shape = "dual", (2,)
    zero, one = torch.tensor([0, 0]), torch.tensor([1, 0])
    dtype = torch.int64

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        p, r = x.unbind(-1)
        q, s = y.unbind(-1)
        return torch.stack([p * q, p * s + r * q], -1)


def _looked_up(values: list):
    return lambda variable: values[int(variable.name[1:])]


@given(stores(gates=25), st.lists(st.integers(-9, 9), min_size=8, max_size=8))
def test_integers_are_exact(store, values):
    """Two valuations at once, and each by itself. Modulo 2^64, as the slow twin's result is reduced too."""
    valuation = torch.tensor(values).reshape(2, 4)
    both = evaluate_gates(store, Naturals(), valuation)
    for row, found in zip(valuation, both, strict=True):
        assert torch.equal(evaluate_gates(store, Naturals(), row), found)
        exact = recursive(store, operator.add, operator.mul, 0, 1, _looked_up(row.tolist()))
        assert [int(e) % 2**64 for e in exact] == [int(f) % 2**64 for f in found]


@given(stores(gates=25), st.lists(st.booleans(), min_size=4, max_size=4))
def test_truth_values_are_exact(store, values):
    exact = recursive(store, operator.or_, operator.and_, False, True, lambda v: values[int(v.name[1:])])
    assert evaluate_gates(store, Truth(), torch.tensor(values)).tolist() == list(exact)


@given(stores(gates=25), st.lists(st.sampled_from([float("-inf"), -1.5, 0.0, 2.0]), min_size=4, max_size=4))
def test_infinite_elements_of_a_lattice_are_exact(store, values):
    exact = recursive(store, max, min, float("-inf"), float("inf"), lambda v: values[int(v.name[1:])])
    for dtype in (torch.float32, torch.float64):
        assert evaluate_gates(store, Lattice(), torch.tensor(values, dtype=dtype)).tolist() == list(exact)


@given(stores(gates=10), st.lists(st.integers(-3, 3), min_size=16, max_size=16))
def test_elements_may_be_small_tensors(store, values):
    valuation = torch.tensor(values).reshape(2, 4, 2)

    def times(x, y):
        return (x[0] * y[0], x[0] * y[1] + x[1] * y[0])

    found = evaluate_gates(store, Dual(), valuation)
    assert found.shape == (2, len(store.roots), 2)
    for row, result in zip(valuation, found, strict=True):
        arguments = (lambda x, y: (x[0] + y[0], x[1] + y[1]), times, (0, 0), (1, 0))
        exact = recursive(store, *arguments, _looked_up(row.tolist()))
        assert [[int(e) % 2**64 for e in pair] for pair in exact] == [[e % 2**64 for e in p] for p in result.tolist()]


@pytest.mark.parametrize("fan", [1, 2, FAN, FAN + 1, FAN**2, FAN**2 + 1, FAN**3 + 5])
@pytest.mark.parametrize("kind", [PLUS, TIMES])
def test_wide_gates_become_trees_that_use_every_operand_once(fan, kind, device):
    """Distinct powers of two show a lost or doubled operand; beside it stands a gate of fan-in 3."""
    leaves = 40
    operands = [i % leaves for i in range(fan)]
    store = make_store(
        [VARIABLE] * leaves + [kind, kind],
        [[]] * leaves + [operands, [0, 1, 2]],
        [*range(leaves), -1, -1],
        leaves,
        [40, 41],
    )
    values = [1 + (i % 5) for i in range(leaves)]
    found = evaluate_gates(store, Naturals(), torch.tensor(values, device=device))
    exact = recursive(store, operator.add, operator.mul, 0, 1, lambda v: values[int(v.name[1:])])
    assert [int(f) % 2**64 for f in found] == [e % 2**64 for e in exact]
    for step in plan_of(store, torch.device("cpu")).steps:
        assert len(step.operands) <= FAN
        assert all(len(a) >= len(b) for a, b in pairwise(step.operands))


@pytest.mark.parametrize("net", [perceptron(5, 40, 3, bias=True), convolutional(), residual()])
def test_networks_in_floats(net, device):
    """float64 to 1e-12 of the largest root, float32 to 1e-5: sums of positive terms."""
    store = expand(net.circuit(), [0, 1], biases=True)
    valuation = torch.rand(3, len(store.variables), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    number = numbers_of(store.variables)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        found = evaluate_gates(store, Numbers(), valuation.to(device, dtype)).cpu()
        for row, result in zip(valuation, found, strict=True):
            values = row.tolist()
            exact = torch.tensor(
                recursive(store, operator.add, operator.mul, 0.0, 1.0, lambda v, values=values: values[number[v.name]]),
                dtype=torch.float64,
            )
            assert (result - exact).abs().max() <= tolerance * exact.abs().max()


def test_results_repeat_to_the_bit_whatever_the_batch(device, monkeypatch):
    store = expand(perceptron(6, 50, 3).circuit(), 1)
    valuation = torch.randn(7, len(store.variables), generator=torch.Generator().manual_seed(1)).to(device)
    whole = evaluate_gates(store, Numbers(), valuation)
    assert torch.equal(evaluate_gates(store, Numbers(), valuation[4]), whole[4])
    assert torch.equal(evaluate_gates(store, Numbers(), valuation[None, 4]), whole[None, 4])
    monkeypatch.setattr(module, "MEMORY", 3 * 4 * plan_of(store, valuation.device).rows)
    assert torch.equal(evaluate_gates(store, Numbers(), valuation), whole)
    assert evaluate_gates(store, Numbers(), valuation[:0]).shape == (0, 6)


def test_the_valuation_is_left_as_it_was():
    store = expand(perceptron(3, 3, 2).circuit(), 1)
    valuation = torch.rand(len(store.variables), requires_grad=True)
    before = valuation.detach().clone()
    assert not evaluate_gates(store, Numbers(), valuation).requires_grad
    assert torch.equal(valuation, before)


def test_the_plan_is_made_once():
    store = expand(perceptron(3, 3, 2).circuit(), 1)
    assert plan_of(store, torch.device("cpu")) is plan_of(store, torch.device("cpu"))


# --- valuations -------------------------------------------------------------------------------------------------------


def test_a_mapping_may_use_names_or_variables():
    store = expand(perceptron(2, 2, 2).circuit(), 1)
    by_name = {v.name: i for i, v in enumerate(store.variables)}
    by_variable = {v: i for i, v in enumerate(store.variables)}
    wanted = torch.arange(len(store.variables))
    assert torch.equal(as_tensor(store, by_name, Naturals()), wanted)
    assert torch.equal(as_tensor(store, by_variable, Numbers(), torch.float32), wanted.float())
    assert as_tensor(store, {v: i % 2 for v, i in by_name.items()}, Truth(), torch.float64).dtype == torch.bool
    pairs = {v: torch.tensor([i, 1]) for v, i in by_name.items()}
    assert as_tensor(store, pairs, Dual()).shape == (len(wanted), 2)
    with pytest.raises(ValuationError, match="shape"):
        as_tensor(store, by_name, Dual())


@pytest.mark.guarantee("a valuation that lacks a variable, has one too many, or the wrong shape or dtype is refused")
def test_valuations_that_do_not_fit_are_refused():
    store = expand(perceptron(2, 2, 2).circuit(), 1)
    given_ = dict.fromkeys((v.name for v in store.variables), 1.0)
    missing = dict.fromkeys(list(given_)[1:], 1.0)
    with pytest.raises(ValuationError, match=r"no value to 1 \(fc1\[0<-0\]\)"):
        as_tensor(store, missing, Numbers())
    with pytest.raises(ValuationError, match=r"no variables: 1 \(fc9\)"):
        as_tensor(store, {**given_, "fc9": 1.0}, Numbers())
    for shape in ((5,), (7,), (6, 1), (2, 5), (1, 1, 6), ()):
        with pytest.raises(ValuationError, match="shape"):
            evaluate_gates(store, Numbers(), torch.ones(shape))
    with pytest.raises(ValuationError, match="shape"):
        evaluate_gates(store, Dual(), torch.ones(6, 3, dtype=torch.int64))
    with pytest.raises(ValuationError, match=r"float32.*int64"):
        evaluate_gates(store, Naturals(), torch.ones(6))
    with pytest.raises(ValuationError, match="bool"):
        evaluate_gates(store, Numbers(), torch.ones(6, dtype=torch.bool))


@pytest.mark.guarantee("no NaN leaves an evaluation of gates unreported")
def test_nan_is_reported():
    store = expand(perceptron(2, 2, 2).circuit(), 1)
    with pytest.raises(NonFiniteError, match="the valuation holds NaN"):
        evaluate_gates(store, Numbers(), torch.tensor([1, 1, float("nan"), 1, 1, 1]))
    with pytest.raises(NonFiniteError, match="infinite elements"):
        evaluate_gates(store, Numbers(), torch.tensor([float("inf"), 1, 1, 1, 0, 1]))


@pytest.mark.guarantee("a circuit simplified by a law is refused in a semiring without it")
def test_assumptions_are_enforced():
    store = simplify(make_store([VARIABLE, PLUS], [[], [0, 0]], [0, -1], 1, [1]), ["idempotent"])
    assert evaluate_gates(store, Truth(), torch.tensor([True])).tolist() == [True]
    with pytest.raises(UnsupportedOperationError, match=r"idempotent.*'naturals'"):
        evaluate_gates(store, Naturals(), torch.tensor([2]))


def test_operations_that_change_the_dtype_are_refused():
    class Halves(Naturals):
        def plus(self, x: Tensor, y: Tensor) -> Tensor:
            return (x + y) / 1

    with pytest.raises(DTypeError, match=r"plus.*float32.*int64"):
        evaluate_gates(make_store([VARIABLE, PLUS], [[], [0, 0]], [0, -1], 1, [1]), Halves(), torch.tensor([2]))


@settings(max_examples=30)
@given(stores(gates=20, variables=3))
def test_variables_without_a_gate_need_a_value_all_the_same(store):
    with pytest.raises(ValuationError):
        evaluate_gates(store, Naturals(), torch.ones(len(store.variables) - 1, dtype=torch.int64))
