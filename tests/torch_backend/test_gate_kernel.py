"""Compiled gates give what torch's operations and recursion give, to the bit, in every family, dtype and batch."""

from __future__ import annotations

import operator
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from provnet.circuit.expand import expand
from provnet.circuit.gates import PLUS, TIMES, VARIABLE
from provnet.errors import CircuitError, CountOverflowError, NonFiniteError
from provnet.semirings.arctic import Arctic
from provnet.semirings.base import Semiring
from provnet.semirings.bitset64 import Bitset64
from provnet.semirings.boolean import Boolean
from provnet.semirings.bottleneck import Bottleneck
from provnet.semirings.counting import Counting
from provnet.semirings.fuzzy import Fuzzy
from provnet.semirings.log import Log
from provnet.semirings.lukasiewicz import Lukasiewicz
from provnet.semirings.max_times import MaxTimes
from provnet.semirings.min_plus import MinPlus
from provnet.semirings.modular_integer import ModularInteger
from provnet.semirings.non_negative import NonNegative
from provnet.semirings.real import Real
from provnet.semirings.security import Security
from provnet.semirings.tropical import Tropical
from provnet.semirings.viterbi import Viterbi
from provnet.torch_backend.contractions.machine_code import available
from provnet.torch_backend.gates import evaluate_gates as module
from provnet.torch_backend.gates.evaluate_gates import evaluate_every_gate, evaluate_gates, plan_of
from provnet.torch_backend.gates.gate_plan import FAN
from provnet.torch_backend.gates.kernel import EXPRESSIONS, NUMBERS, operations_of
from tests.gate_circuits import make_store, perceptron, recursive, stores

pytestmark = pytest.mark.skipif(not available(), reason="llvmlite, which the extra `fast` brings, is not installed")

FLOATS = (torch.float32, torch.float64)
CASES: list[tuple[Semiring, torch.dtype]] = [
    *((semiring, dtype) for semiring in (Real(), NonNegative(), MaxTimes(), MinPlus(), Arctic()) for dtype in FLOATS),
    *(
        (semiring, dtype)
        for semiring in (Viterbi(), Tropical(), Fuzzy(), Bottleneck(), Lukasiewicz())
        for dtype in FLOATS
    ),
    *((Real(), dtype) for dtype in (torch.int32, torch.int64)),
    *((Bottleneck(dtype), dtype) for dtype in (torch.int32, torch.int64)),
    (Counting("float64"), torch.float64),
    (Security(), torch.int64),
    (Bitset64(), torch.int64),
    (Boolean(), torch.bool),
    (ModularInteger(2_147_483_629), torch.int64),
]


def by_torch():
    return patch.object(module, "operations_of", lambda semiring, valuation: None)


def draw(semiring: Semiring, dtype: torch.dtype, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return elements of the carrier, some of them zero and one."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(semiring, ModularInteger):
        found = torch.randint(0, semiring.p, shape, generator=generator)
    elif dtype.is_floating_point:
        low, high = semiring.bounds or (-1.0, 1.0)
        found = torch.rand(shape, generator=generator, dtype=torch.float64) * (1.5 if high > 1 else 1.0)
        found = (found if low >= 0 else found - 0.6).to(dtype)
    elif dtype == torch.bool:
        found = torch.rand(shape, generator=generator) < 0.6
    else:
        found = torch.randint(
            -3 if semiring.ring or isinstance(semiring, Bitset64) else 0, 4, shape, generator=generator
        )
    found = found.to(dtype)
    which = torch.randint(0, 8, shape, generator=generator)
    found[which == 0] = semiring.zero
    found[which == 1] = semiring.one
    return found


@pytest.mark.parametrize(("semiring", "dtype"), CASES, ids=lambda case: str(case).removeprefix("torch."))
@pytest.mark.parametrize("batch", [1, 2, 3, 9, 16, 17, 70])
def test_every_family_is_compiled_and_equals_torch_to_the_bit(semiring, dtype, batch):
    store = expand(perceptron(5, 40, 3, bias=True).circuit(), [0, 1], biases=True)
    valuation = draw(semiring, dtype, (batch, len(store.variables)))
    assert operations_of(semiring, valuation) is not None
    found = evaluate_gates(store, semiring, valuation)
    every = evaluate_every_gate(store, semiring, valuation[0])
    with by_torch():
        assert torch.equal(evaluate_gates(store, semiring, valuation), found)
        assert torch.equal(evaluate_every_gate(store, semiring, valuation[0]), every)
    assert torch.equal(evaluate_gates(store, semiring, valuation[-1]), found[-1])


def test_the_cases_above_meet_every_family_and_dtype():
    met = {operations_of(semiring, draw(semiring, dtype, (1, 3))) for semiring, dtype in CASES}
    assert met == set(EXPRESSIONS.values()) | {("or", "and"), ("modular-add", "modular-mul"), Lukasiewicz.scalar}
    assert {dtype for _, dtype in CASES} == set(NUMBERS)


@given(stores(gates=25), st.lists(st.integers(-5, 5), min_size=8, max_size=8))
def test_integers_in_three_algebras_are_exact(store, values):
    algebras = {
        Bottleneck(torch.int64): (max, min),
        Real(): (operator.add, operator.mul),
        Bitset64(): (operator.or_, operator.and_),
    }
    valuation = torch.tensor(values).reshape(2, 4)
    for semiring, (plus, times) in algebras.items():
        both = evaluate_gates(store, semiring, valuation)
        for row, found in zip(valuation.tolist(), both, strict=True):
            zero, one = int(semiring.zero), int(semiring.one)
            exact = recursive(store, plus, times, zero, one, lambda v, row=row: row[int(v.name[1:])])
            assert [int(e) % 2**64 for e in exact] == [int(f) % 2**64 for f in found]


@given(stores(gates=25), st.lists(st.integers(0, 6), min_size=4, max_size=4), st.sampled_from([1, 3]))
def test_costs_and_truth_values_are_exact(store, values, batch):
    """Sums of small integers are exact in float32."""
    costs = torch.tensor(values, dtype=torch.float32).expand(batch, -1)
    exact = recursive(store, min, operator.add, float("inf"), 0.0, lambda v: float(values[int(v.name[1:])]))
    if all(e == float("inf") or e < 2**24 for e in exact):
        assert evaluate_gates(store, Tropical(), costs)[-1].tolist() == list(exact)
    truth = [value > 2 for value in values]
    exact = recursive(store, operator.or_, operator.and_, False, True, lambda v: truth[int(v.name[1:])])
    assert evaluate_gates(store, Boolean(), torch.tensor(truth).expand(batch, -1))[-1].tolist() == list(exact)


@settings(max_examples=60)
@given(
    stores(gates=25),
    st.sampled_from([2, 3, 97, 2**30 + 3, 2_147_483_629, 2_147_483_647]),
    st.lists(st.integers(-4, 4), min_size=4, max_size=4),
    st.sampled_from([1, 5]),
)
def test_residues_are_exact_up_to_the_largest_modulus(store, p, values, batch):
    """Values next to 0 and to p: there a quotient that is rounded to a double is off by one."""
    values = [value % p for value in values]
    exact = recursive(store, operator.add, operator.mul, 0, 1, lambda v: values[int(v.name[1:])])
    found = evaluate_gates(store, ModularInteger(p), torch.tensor(values).expand(batch, -1))
    assert found[-1].tolist() == [int(e) % p for e in exact]


@pytest.mark.parametrize("p", [2_147_483_647, 2_147_483_629, 2_147_483_587, 2_147_483_579, 1_073_741_827])
def test_products_next_to_multiples_of_the_modulus(p):
    """There x y / p lies within 2^-31 of a whole number, and its double on the wrong side of it, either way."""
    store = make_store([VARIABLE, VARIABLE, TIMES], [[], [], [0, 1]], [0, 1, -1], 2, [2])
    factors = torch.randint(1, p, (5000,), generator=torch.Generator().manual_seed(0)).tolist()
    pairs = [(x, rest * pow(x, -1, p) % p) for x in factors for rest in (1, 2, p - 2, p - 1)]
    assert evaluate_gates(store, ModularInteger(p), torch.tensor(pairs))[:, 0].tolist() == [1, 2, p - 2, p - 1] * 5000


def test_what_is_no_residue_goes_by_torch():
    store = make_store([VARIABLE, PLUS], [[], [0, 0]], [0, -1], 1, [1])
    assert operations_of(ModularInteger(7), torch.tensor([[9]])) is None
    assert evaluate_gates(store, ModularInteger(7), torch.tensor([9])).tolist() == [4]


def test_only_the_named_operations_are_compiled():
    class Own(Viterbi):
        def times(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.minimum(x, y)

    class Shifted(ModularInteger):
        def plus(self, x: Tensor, y: Tensor) -> Tensor:
            return (x + y + 1) % self.p

    floats, whole = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.int64)
    assert operations_of(Own(), floats) is None
    assert operations_of(Shifted(7), whole) is None
    assert operations_of(Real(), floats.half()) is None
    assert operations_of(Log(), floats) is None
    assert operations_of(Real(), floats.to(torch.complex64)) is None
    assert operations_of(Counting("exact"), whole) is None
    assert operations_of(Real(), torch.ones(1, 2, device="meta")) is None
    store = make_store([VARIABLE, VARIABLE, TIMES], [[], [], [0, 1]], [0, 1, -1], 2, [2])
    assert evaluate_gates(store, Own(), torch.tensor([0.5, 0.5])).tolist() == [0.5]
    assert evaluate_gates(store, Shifted(7), torch.tensor([5, 3])).tolist() == [1]


def test_a_compiled_nan_is_reported_and_an_overflowing_count_refused():
    store = make_store([VARIABLE, VARIABLE, TIMES, PLUS], [[], [], [0, 1], [2, 0]], [0, 1, -1, -1], 2, [3])
    turned = make_store([VARIABLE, VARIABLE, TIMES, PLUS], [[], [], [0, 1], [0, 2]], [0, 1, -1, -1], 2, [3])
    for batch in (1, 3):
        infinite = torch.tensor([float("inf"), 0.0]).expand(batch, -1)
        for either in (store, turned):
            with pytest.raises(NonFiniteError, match="max-times"):
                evaluate_gates(either, MaxTimes(), infinite)
        with pytest.raises(CountOverflowError):
            evaluate_gates(store, Counting(), torch.tensor([2**40, 2**40]).expand(batch, -1))


def test_a_count_too_large_for_float64_is_refused_too():
    """Infinity times zero, in the float64 bound, is a NaN: no proof that the count fits."""
    kinds, operands = [VARIABLE, VARIABLE], [[], []]
    for _ in range(5):
        kinds.append(TIMES)
        operands.append([len(kinds) - 2 if len(kinds) > 3 else 0] * FAN)
    kinds.append(TIMES)
    operands.append([len(kinds) - 2, 1])
    store = make_store(kinds, operands, [0, 1, *[-1] * 6], 2, [len(kinds) - 1])
    with pytest.raises(CountOverflowError):
        evaluate_gates(store, Counting(), torch.tensor([2**40, 0]))


def test_the_default_device_is_of_no_matter():
    store = expand(perceptron(2, 3, 2).circuit(), 1)
    valuation = torch.rand(len(store.variables))
    with torch.device("meta"):
        found = evaluate_gates(store, Real(), valuation)
    with by_torch():
        assert torch.equal(evaluate_gates(store, Real(), valuation), found)


def test_rows_are_narrower_where_memory_is_short(monkeypatch):
    store = expand(perceptron(6, 50, 3).circuit(), 1)
    valuation = torch.randn(21, len(store.variables), generator=torch.Generator().manual_seed(1))
    whole = evaluate_gates(store, Real(), valuation)
    widths = []
    compiled = module.kernel
    monkeypatch.setattr(module, "kernel", lambda *key: widths.append(key[2]) or compiled(*key))
    for memory, width in ((1, 1), (3 * 4, 2), (1 << 28, 16)):
        monkeypatch.setattr(module, "MEMORY", memory * plan_of(store, valuation.device).rows)
        assert torch.equal(evaluate_gates(store, Real(), valuation), whole)
        assert widths.pop() == width
    assert evaluate_gates(store, Real(), valuation[:0]).shape == (0, 6)
    assert torch.equal(evaluate_gates(store, Real(), valuation.t().contiguous().t()), whole)


@pytest.mark.guarantee("gates that are malformed are refused before compiled code reads a row that is not there")
@pytest.mark.parametrize("operands", [[1, 0], [-1], []], ids=["itself", "none", "no operands"])
def test_malformed_gates_are_refused(operands):
    store = make_store([VARIABLE, PLUS], [[], operands], [0, -1], 1, [1])
    with pytest.raises(CircuitError):
        evaluate_gates(store, Real(), torch.ones(1))
