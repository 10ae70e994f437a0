"""Counts of any size: exact=True, promotion, and a bound that the fast routes check too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import provnet
from provnet import annotations
from provnet.errors import CountOverflowError, OptionError
from provnet.semirings.counting import Counting
from provnet.torch_backend.counts import bounds as counting
from tests.nets import Residual, seeded

EVERY = annotations.Threshold(-1e30)


def wide(depth: int, width: int = 64) -> provnet.Circuit:
    """Return the circuit of dense layers of equal weights: width^(depth - 1) paths from an input to an output."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth))).double()
    for layer in model:
        nn.init.constant_(layer.weight, 1 / width)  # type: ignore[union-attr,arg-type]
    return provnet.trace(model, torch.ones(1, width, dtype=torch.float64))


@pytest.mark.guarantee("exact=True counts in Python integers of any size")
def test_exact_gives_python_integers():
    found = wide(14).evaluate("counting", target=0, annotation=EVERY, exact=True)
    assert found.inputs.dtype == object
    assert found.inputs[0, 0] == 64**13
    assert type(found.inputs[0, 0]) is int
    assert found.exact
    assert found["3"].shape == (1, 64)
    huge = wide(44).evaluate("counting", target=0, annotation=EVERY, exact=True)
    assert huge.inputs[0, 0] == 64**43  # above the 240 bits that exact counts have until they are sized
    small = wide(3).evaluate("counting", target=0, exact=True)
    assert small.inputs.tolist() == wide(3).evaluate("counting", target=0).inputs.tolist()
    lists = wide(12).evaluate(["counting", Counting(), Counting("exact")], target=0, annotation=EVERY, exact=True)
    assert [one.inputs[0, 0] for one in lists] == [64**11] * 3


def test_exact_counts_of_several_thresholds_are_each_sized():
    """The thresholds differ in how many paths they leave, one of them in none."""
    thetas = [annotations.Threshold(t) for t in (0.0, 1 / 64, 0.5)]
    found = wide(14).evaluate("counting", target=0, annotation=thetas, exact=True)
    assert [one.inputs[0, 0] for one in found] == [64**13, 64**13, 0]


@pytest.mark.guarantee("exact=True in a semiring that does not count is refused")
def test_exact_is_for_counting_alone():
    circuit = wide(2)
    for semiring in ("real", "boolean", "viterbi", ["counting", "real"], "bitset64"):
        with pytest.raises(OptionError, match=r"exact=True counts paths"):
            circuit.evaluate(semiring, exact=True)
    with pytest.raises(OptionError, match="contradicts"):
        circuit.evaluate(Counting("float64"), exact=True)
    with pytest.raises(OptionError, match="exact='yes'"):
        circuit.evaluate("counting", exact="yes")


@pytest.mark.guarantee("promoted counts are int64 where all fit, else float64 that says whether it is exact")
def test_promotion():
    circuit, large = wide(8), wide(14)
    fits = circuit.evaluate(Counting("promote"), target=0, annotation=EVERY)
    assert fits.inputs.dtype == torch.int64
    assert torch.equal(fits.inputs, circuit.evaluate("counting", target=0, annotation=EVERY).inputs)
    assert fits.exact
    found = large.evaluate(Counting("promote"), target=provnet.Targets(0, 1), annotation=EVERY)
    assert found.inputs.dtype == torch.float64
    assert found.inputs[0, 0, 0] == 64.0**13
    assert not found.exact
    with pytest.raises(CountOverflowError, match="promote"):
        large.evaluate("counting", target=0, annotation=EVERY)


def test_each_question_promotes_for_itself():
    """What stands beside a question in a list does not change its answer."""
    large = wide(14)
    few = annotations.Threshold(0.5)
    one, other, real = large.evaluate(
        [Counting("promote"), Counting("promote"), "real"], target=0, annotation=[EVERY, few, None]
    )
    assert one.inputs.dtype == torch.float64
    assert other.inputs.dtype == torch.int64
    assert torch.equal(real.inputs, large.evaluate("real", target=0).inputs)
    with pytest.raises(CountOverflowError):
        large.evaluate([Counting("promote"), "counting"], target=0, annotation=EVERY)


@pytest.mark.guarantee("where a count cannot be promoted (within other semirings, on gates) it is refused")
def test_inside_other_semirings_and_on_gates_promotion_raises():
    pair = provnet.semirings.Product(Counting("promote"), "boolean")
    with pytest.raises(CountOverflowError):
        wide(14).evaluate(pair, target=0, annotation=annotations.Each(EVERY, EVERY))
    gates = wide(14, width=32).gates(target=0, at=("input", 0))
    with pytest.raises(CountOverflowError):
        gates.evaluate(Counting("promote"), torch.ones(len(gates.variables), dtype=torch.int64))


def test_the_bound_is_checked_in_the_same_numbers_by_every_route(monkeypatch: pytest.MonkeyPatch):
    """Where the cheap bound does not decide, the pull in float64 gives the largest true count, on any route."""
    circuit = provnet.trace(seeded(Residual), torch.randn(2, 2, 6, 6, dtype=torch.float64))
    wanted = circuit.evaluate("counting", target=0, at="*")
    seen: dict[str, list[float]] = {}

    def spied(route: str) -> None:
        def check(block: object, semiring: object, annotation: object, relevance: torch.Tensor, count: object) -> None:
            seen[route].append(count(relevance.to(torch.float64)))  # type: ignore[operator]

        monkeypatch.setattr(counting, "check_block", check)
        seen[route] = []
        assert torch.equal(circuit.evaluate("counting", target=0, route=route).inputs, wanted.inputs)

    spied("auto")
    spied("reference")
    assert seen["auto"] == seen["reference"]
    assert max(seen["auto"]) > 1


def chain(width: int = 4, depth: int = 130) -> provnet.Circuit:
    """width ** (depth - 1) paths from each input to the target, more than 2^248."""
    layers = [nn.Linear(width, width, bias=False, dtype=torch.float64) for _ in range(depth)]
    for layer in layers:
        nn.init.constant_(layer.weight, 1 / width)
    return provnet.trace(nn.Sequential(*layers), torch.ones(1, width, dtype=torch.float64))


WIDER = {
    "signed": lambda exact: provnet.semirings.Signed(exact),
    "graded": lambda exact: provnet.semirings.Graded(exact, 130),
    "product": lambda exact: provnet.semirings.Product(exact, "boolean"),
    "product in a product": lambda exact: provnet.semirings.Product(
        "boolean", provnet.semirings.Product("counting", provnet.semirings.Signed(exact))
    ),
}


@pytest.mark.guarantee("exact counts inside wider semirings never wrap: they are refused, with the size to ask for")
@pytest.mark.parametrize("name", WIDER)
def test_exact_counts_in_wider_semirings_are_refused_beyond_their_primes(name: str):
    with pytest.raises(provnet.errors.CountOverflowError, match=r"bits=26\d|exceeds int64"):
        chain().evaluate(WIDER[name](provnet.semirings.Counting("exact")), target=0)


def test_with_more_primes_they_are_exact():
    circuit, exact = chain(), provnet.semirings.Counting("exact", 262)
    signed = circuit.evaluate(provnet.semirings.Signed(exact), target=0).inputs
    assert exact.decode(signed)[0].tolist() == [[4**129, 0]] * 4
