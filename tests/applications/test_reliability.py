"""The probability of a relevant path: exact, and sampled 64 worlds at a time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import provnet
from provnet.applications.reliability import exact_fractions, random_worlds, reliability, wilson
from provnet.circuit.expand import expand
from provnet.errors import LimitError, OptionError, ValuationError
from provnet.semirings import Bitset64
from provnet.semirings.annotations import Threshold
from tests.gate_circuits import perceptron, stores
from tests.nets import perceptron as torch_perceptron
from tests.nets import seeded


@settings(max_examples=15)
@given(stores(gates=12), st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=4, max_size=4))
def test_samples_come_near_the_exact_probability(store, chances):
    gates = provnet.GateCircuit(store)
    exact = reliability(gates, torch.tensor(chances)).probability
    sampled = reliability(gates, torch.tensor(chances), method="sample", worlds=6400, seed=1)
    sure = (exact * (1 - exact) / 6400).sqrt()
    assert bool(((sampled.probability - exact).abs() <= 5 * sure + 1e-12).all())
    assert sampled.worlds == 6400
    low, high = wilson(sampled, z=5)
    assert bool(((low - 1e-9 <= exact) & (exact <= high + 1e-9)).all())


def test_worlds_have_the_chances_that_were_asked_for():
    chances = torch.tensor([0.0, 1 / 3, 0.5, 0.9, 1.0], dtype=torch.float64)
    worlds = Bitset64().unpack(random_worlds(chances, 4000, np.random.default_rng(0)))
    share = worlds.to(torch.float64).mean((0, 2))
    assert share[[0, 4]].tolist() == [0, 1]
    assert torch.allclose(share, chances, atol=5 * 0.5 / 506)  # sqrt(256,000) = 506
    joint = (worlds[:, 1] & worlds[:, 3]).to(torch.float64).mean()
    assert float(joint) == pytest.approx(0.3, abs=0.005)


def test_a_seed_repeats_and_cuts_change_nothing():
    gates = provnet.GateCircuit(expand(perceptron(3, 4, 2).circuit(), 0))
    one = reliability(gates, 0.3, method="sample", worlds=640, seed=5)
    assert torch.equal(one.probability, reliability(gates, 0.3, method="sample", worlds=640, seed=5).probability)
    assert not torch.equal(one.probability, reliability(gates, 0.3, method="sample", worlds=640, seed=6).probability)
    assert one["x[1]"] == one.probability.tolist()[1] == one[gates.roots[1]]


def test_fractions_are_exact():
    gates = provnet.GateCircuit(expand(perceptron(1, 2, 1).circuit(), 0))
    assert exact_fractions(gates, Fraction(1, 2)) == {"x[0]": Fraction(7, 16)}  # 1 − (1 − 1/4)²


def test_edges_below_the_threshold_do_not_count():
    circuit = provnet.trace(seeded(lambda: torch_perceptron(4, 3, 2)), torch.rand(1, 4, dtype=torch.float64))
    gates, theta = circuit.gates(target=0), Threshold(0.2)
    found = reliability(gates, 1.0, annotation=theta)
    assert torch.equal(found.probability == 1, circuit.evaluate("boolean", target=0, annotation=theta).inputs[0])
    named = dict.fromkeys(gates.variables, 0.5)
    assert torch.equal(reliability(gates, named).probability, reliability(gates, 0.5).probability)


@pytest.mark.guarantee("chances that are no probabilities, or not one for each edge, are refused")
def test_bad_questions_are_refused():
    gates = provnet.GateCircuit(expand(perceptron(4, 5, 5, 2).circuit(), 0))
    for chance in (1.5, -0.1, float("nan"), torch.full((3,), 0.5)):
        with pytest.raises(ValuationError, match="probability in"):
            reliability(gates, chance)
    with pytest.raises(ValuationError, match="differs"):
        reliability(gates, {"fc9": 0.5})
    with pytest.raises(OptionError, match="method"):
        reliability(gates, 0.5, method="guess")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="worlds=3"):
        reliability(gates, 0.5, method="sample", worlds=3)
    with pytest.raises(OptionError, match="no root"):
        reliability(gates, 0.5, method="sample", worlds=64)["y[0]"]
    with pytest.raises(LimitError, match="Sample instead"):
        reliability(gates, 0.5, limit=100)
