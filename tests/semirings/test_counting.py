"""Counts of any size, exact or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from provnet.errors import CountOverflowError, OptionError, UnsupportedOperationError
from provnet.semirings.counting import Counting, enough_primes


@pytest.mark.guarantee("exact counts equal Python's integers")
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=6), st.lists(st.integers(0, 2**31), min_size=1, max_size=6))
def test_residues_give_the_integers_that_python_gives(xs, ys):
    """Sum of products of 32-bit numbers, folded by both ways and decoded by the Chinese remainder theorem."""
    exact = Counting("exact", bits=64 * 4)
    encode = lambda n: torch.tensor([n % p for p in exact.primes])  # noqa: E731
    total, expected = exact.full((), exact.zero, torch.empty((), dtype=torch.int64)), 0
    for x in xs:
        product, plain = encode(x), x
        for y in ys:
            product, plain = exact.times(product, encode(y)), plain * y
        total, expected = exact.plus(total, product), expected + plain
    assert expected < 2**290
    wide = Counting("exact", bits=290)
    assert wide.largest > expected
    assert int(exact.decode(total)) == expected % (exact.largest + 1)


@pytest.mark.parametrize("bits", [1, 31, 62, 64, 169, 1024])
def test_the_primes_are_enough_and_prime(bits):
    primes = enough_primes(bits)
    assert np.prod(np.array(primes, dtype=object)) >= 2**bits
    assert len(set(primes)) == len(primes)
    assert len(primes) <= bits // 30 + 1
    for p in primes:
        assert 2**30 < p < 2**31
        assert pow(3, p - 1, p) == 1  # Fermat: no composite here fools base 3 and trial division both


def test_a_power_of_two_beyond_every_machine_word():
    exact = Counting("exact").with_primes(200)
    x = exact.full((2,), 2, torch.empty((), dtype=torch.int64))
    power = x
    for _ in range(168):
        power = exact.times(power, x)
    assert exact.decode(power).tolist() == [2**169] * 2
    assert exact.decode(power).shape == (2,)
    assert exact.element_shape == (len(exact.primes),)


def test_the_shape_of_what_is_decoded():
    plain = Counting().decode(torch.tensor([[1, 2**62]]))
    assert plain.tolist() == [[1, 2**62]]
    assert all(isinstance(n, int) for n in plain.ravel())
    assert Counting("float64").decode(torch.tensor([3.0], dtype=torch.float64)).tolist() == [3]


@pytest.mark.guarantee("a count that may exceed its dtype is refused with the place and the ways out")
def test_counts_that_may_overflow_are_refused_with_the_place_and_the_ways_out():
    assert Counting().check(2**63 - 1, "fc1")
    with pytest.raises(CountOverflowError, match=r"at features.28 may reach 2\^63.*exact.*float64"):
        Counting().check(2**63, "features.28")
    assert Counting("float64").check(2**53, "fc1") is True
    assert Counting("float64").check(2**53 + 1, "fc1") is False
    with pytest.raises(CountOverflowError, match=r"2\^53.*exact"):
        Counting("float64").decode(torch.tensor([2.0**60], dtype=torch.float64))
    with pytest.raises(CountOverflowError, match="fc1"):
        Counting("exact", bits=30).check(2**64, "fc1")
    with pytest.raises(CountOverflowError, match="fc1"):
        Counting().check(2**5000, "fc1")  # larger than any float


def test_an_unknown_way_to_overflow_is_refused():
    with pytest.raises(OptionError, match=r"'wrap'.*'raise', 'float64', 'exact'"):
        Counting("wrap")  # type: ignore[arg-type]


def test_residues_have_no_monus():
    exact = Counting("exact")
    assert not exact.offers("monus")
    assert Counting().offers("monus")
    with pytest.raises(UnsupportedOperationError, match="decode"):
        exact.monus(exact.exact_values(), exact.exact_values())


def test_jobs_are_told_apart_by_their_options():
    assert Counting().key() == Counting("raise").key()
    assert (
        len({Counting().key(), Counting("float64").key(), Counting("exact").key(), Counting("exact", 500).key()}) == 4
    )
