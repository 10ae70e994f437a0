"""The walk: routes, tiles, counts that never wrap, numbers that are never NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.errors import CountOverflowError, NonFiniteError, OptionError
from provnet.semirings.counting import Counting

SIX = ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck")
EXACT = ("boolean", "counting", "bottleneck")


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1, dilation=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(6 * 2 * 2, 5),
    ).double()


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    torch.manual_seed(5)
    return provnet.trace(network(), torch.randn(3, 2, 7, 7, dtype=torch.float64))


@pytest.mark.parametrize("semiring", SIX)
def test_tiles_do_not_matter(circuit: provnet.Circuit, semiring: str):
    """The smallest budget cuts every block into many tiles; sums of floats may round apart, nothing else."""
    whole = circuit.evaluate(semiring, route="reference").inputs
    tiled = circuit.evaluate(semiring, route="reference", memory=1 << 16).inputs
    if semiring in EXACT:
        assert torch.equal(whole, tiled)
    torch.testing.assert_close(whole, tiled, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("semiring", SIX)
def test_a_batch_is_its_examples(circuit: provnet.Circuit, semiring: str):
    """Each example's relevance does not depend on the others: one traced alone gives the same."""
    together = circuit.evaluate(semiring).inputs
    source = circuit.session.data.activations[circuit.session.data.sources[0]].handle
    for example in range(3):
        alone = provnet.trace(network(), source[example : example + 1]).evaluate(semiring).inputs
        torch.testing.assert_close(together[example : example + 1], alone, rtol=1e-9, atol=1e-12)


def test_jobs_in_one_walk_are_as_apart(circuit: provnet.Circuit):
    together = circuit.evaluate(list(SIX), target=2)
    for name, one in zip(SIX, together, strict=True):
        assert torch.equal(one.inputs, circuit.evaluate(name, target=2).inputs)


@pytest.mark.guarantee("a semiring of one's own (two torch functions, zero, one) works everywhere")
def test_a_semiring_of_ones_own_is_evaluated_by_the_general_fold(circuit: provnet.Circuit):
    mine = provnet.semirings.make(
        torch.maximum, torch.mul, 0.0, 1.0, name="mine", annotation="max-normalised", idempotent=True
    )
    assert torch.equal(circuit.evaluate(mine).inputs, circuit.evaluate("viterbi", route="reference").inputs)


def chain(layers: int, width: int, value: float = 1.0) -> nn.Sequential:
    """All weights are `value`, no biases: width ** (layers - 1) paths from each input to an output."""
    net = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers)))
    for weight in net.parameters():
        nn.init.constant_(weight, value / width)
    return net


@pytest.mark.guarantee("counting never wraps: raise, float64 or exact, as the caller says")
def test_counts_beyond_int64_are_refused_promoted_or_exact():
    circuit = provnet.trace(chain(14, 32), torch.ones(1, 32))
    paths = 32**13  # 2^65
    with pytest.raises(CountOverflowError, match=r"'0'.*overflow='exact'"):
        circuit.evaluate("counting", target=0)
    rounded = circuit.evaluate(Counting("float64"), target=0)
    assert rounded.inputs[0, 0] == float(paths)
    assert not rounded.exact
    exact = circuit.evaluate(Counting("exact"), target=0)
    assert exact.inputs[0, 0] == paths
    assert isinstance(exact.inputs[0, 0], int)
    assert exact.exact


def test_counts_that_fit_are_not_refused_where_the_bound_fails():
    """The bound is the largest count times a neuron's edges, 2^65 at the first layer, of which one edge passes."""
    net = chain(14, 32)
    with torch.no_grad():
        next(net.parameters())[1:] = 0.0
    found = provnet.trace(net, torch.ones(1, 32)).evaluate("counting", target=0)
    assert found.inputs[0, 0] == 32**12
    assert found.exact


def test_float64_counts_below_two_to_53_are_exact():
    found = provnet.trace(chain(4, 8), torch.ones(1, 8)).evaluate(Counting("float64"), target=0)
    assert found.exact
    assert found.inputs[0, 0] == 8**3


@pytest.mark.guarantee("no NaN or Inf leaves a rule, tiny denominators included")
def test_tiny_denominators_leave_no_nan():
    """1 / 1e-40 overflows float32: the coefficient is then not defined, and the relevance is reported as lost."""
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight[:] = torch.tensor([[1.0, -1.0]])
        net.bias[:] = 1e-40
    circuit = provnet.trace(net, torch.ones(1, 2))
    for semiring in SIX:
        found = circuit.evaluate(semiring, target=0).inputs
        assert not torch.isnan(found.double()).any(), semiring
    real = circuit.evaluate("real", target=0)
    assert torch.isfinite(real.inputs).all()
    total = real.inputs.sum() + sum(sink.sum() for sink in real.sinks.values())
    assert float(total) == pytest.approx(1.0)


def test_a_zero_denominator_loses_the_relevance_and_says_so():
    net = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight[:] = torch.tensor([[1.0, -1.0]])
    circuit = provnet.trace(net, torch.ones(1, 2))
    boolean = circuit.evaluate("boolean", target=0)
    assert not boolean.inputs.any()
    assert boolean.sinks[""].item() if "" in boolean.sinks else next(iter(boolean.sinks.values())).item()
    viterbi = circuit.evaluate("viterbi", target=0)  # it uses p, which is defined
    assert viterbi.inputs.tolist() == [[1.0, 1.0]]


@pytest.mark.guarantee("a NaN that a user's semiring makes is reported, with the block")
def test_a_nan_from_a_users_semiring_is_reported():
    bad = provnet.semirings.make(
        torch.maximum, lambda x, y: torch.where(x == 0.5, torch.nan, x * y), 0.0, 1.0, annotation="max-normalised"
    )
    net = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight[:] = torch.tensor([[1.0, 0.5]])
    with pytest.raises(NonFiniteError, match="passes back"):
        provnet.trace(net, torch.ones(1, 2)).evaluate(bad, target=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"route": "fastest"}, "route='fastest'"),
        ({"pooling": "loser"}, "pooling='loser'"),
        ({"memory": 100}, "memory=100"),
        ({"dtype": torch.float16}, "float32 or torch.float64"),
        ({"products": "third"}, "products='third'"),
        ({"start": "two"}, "start='two'"),
        ({"bias": 1}, "bias=1"),
    ],
)
@pytest.mark.guarantee("an option of evaluate that is none is refused")
def test_options_that_are_none(circuit: provnet.Circuit, options: dict[str, Any], message: str):
    with pytest.raises(OptionError, match=message):
        circuit.evaluate("real", **options)


def test_the_plan_names_routes(circuit: provnet.Circuit):
    routes = {step.path: step.route for step in circuit.evaluate("real").plan}
    assert routes["0"] == routes["6"] == "transpose"
    assert routes["1"] == "unit"
    assert all(step.route in ("reference", "unit") for step in circuit.evaluate("real", route="reference").plan)
