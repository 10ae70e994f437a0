"""Exact counts inside wider semirings never wrap: they are Python's integers, or refused with the bits they want."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from provnet.circuit.gates import PLUS, TIMES, VARIABLE
from provnet.errors import CountOverflowError
from provnet.semirings.counting import Counting
from provnet.semirings.expectation import Expectation
from provnet.semirings.graded import Graded
from provnet.semirings.product import Product
from provnet.semirings.signed import Signed
from provnet.torch_backend.gates.evaluate_gates import evaluate_gates
from tests.gate_circuits import make_store


def power(exponent: int):
    """Return the circuit of (x0)^exponent ⊕ x1; exponent = 16^a · 2^b."""
    kinds, operands, last = [VARIABLE, VARIABLE], [[], []], 0
    while exponent > 1:
        fan = 16 if exponent % 16 == 0 else 2
        operands.append([last] * fan)
        kinds.append(TIMES)
        last, exponent = len(kinds) - 1, exponent // fan
    operands.append([last, 1])
    kinds.append(PLUS)
    return make_store(kinds, operands, [0, 1, *[-1] * (len(kinds) - 2)], 2, [len(kinds) - 1])


def residues(counting: Counting, count: int) -> torch.Tensor:
    return torch.tensor([count % p for p in counting.primes])


EXACT = Counting("exact")
WIDE = Counting("exact", bits=600)


def plain(counting: Counting, given: list[int]):
    return counting, torch.stack([residues(counting, n) for n in given]), lambda found: found


def channels(wide: type, counting: Counting, given: list[int]):
    """The counts in the first channel, nothing in the others."""
    semiring = wide(counting)
    rows = [residues(counting, n) for n in given]
    return semiring, torch.stack([semiring.row(row).to(torch.int64) for row in rows]), lambda found: found[..., 0, :]


def product(counting: Counting, given: list[int]):
    """Beside an int64 count of one."""
    rows = [torch.cat([residues(counting, n), torch.tensor([1])]) for n in given]
    return Product(counting, Counting()), torch.stack(rows), lambda found: found[..., :-1]


WAYS = {"plain": plain, "product": product} | {c.__name__: partial(channels, c) for c in (Signed, Graded, Expectation)}
CASES = [  # elements of 2^200 + 1 are not their own residues
    (EXACT, 3, 128, True),
    (EXACT, 3, 256, False),
    (WIDE, 3, 256, True),
    (EXACT, 2**200 + 1, 1, True),
    (EXACT, 2**200 + 1, 2, False),
]


@pytest.mark.guarantee("exact counts inside Graded, Signed, Expectation and Product are refused before they wrap")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("counting", "base", "exponent", "fits"), CASES)
def test_exact_counts_are_right_or_refused(way, counting, base, exponent, fits):
    semiring, valuation, counts = WAYS[way](counting, [base, 1])
    for given in (valuation, torch.stack([valuation] * 2)):
        if fits:
            found = counting.decode(counts(evaluate_gates(power(exponent), semiring, given)))
            assert set(found.ravel().tolist()) == {base**exponent + 1}
        else:
            with pytest.raises(CountOverflowError, match=f"bits={(base**exponent).bit_length() + 1}"):
                evaluate_gates(power(exponent), semiring, given)


def test_counts_that_float64_cannot_hold_are_refused():
    with pytest.raises(CountOverflowError, match="higher threshold"):
        evaluate_gates(power(512), WIDE, torch.stack([residues(WIDE, 2**40), residues(WIDE, 0)]))


def test_infinity_times_zero_proves_nothing():
    """x0^512 ⊗ x1, with x1 = 0: zero, but in float64 a NaN."""
    store = power(512)
    kind = store.kind.copy()
    kind[-1] = TIMES
    with pytest.raises(CountOverflowError, match="higher threshold"):
        evaluate_gates(replace(store, kind=kind), WIDE, torch.stack([residues(WIDE, 2**40), residues(WIDE, 0)]))
