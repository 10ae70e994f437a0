"""A sweep over θ in one pass of Bottleneck gives what Boolean evaluations one by one give, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import provnet
from provnet import annotations
from provnet.semirings.annotations.base import Edges
from provnet.torch_backend.routes.reference import ReferenceRoute
from provnet.torch_backend.routes.winner import Winner
from provnet.torch_backend.walk import threshold_sweep as sweep
from tests.nets import Residual, perceptron, seeded, small_cnn

Threshold = annotations.Threshold


class Odd(nn.Module):
    """A residual sum with itself, a concatenation, overlapping windows, padding, neurons without a denominator."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 3, 2, groups=3)
        self.last = nn.Linear(3 * 4 + 3 * 4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x), inplace=True)
        x = x + x
        y = F.max_pool2d(F.pad(self.second(x), (0, 1, 0, 1)), 3, stride=2, padding=1)
        y = torch.cat([y, F.avg_pool2d(x, 3, stride=1, padding=1)[:, :, 1:3, 1:3]], 1)
        return self.last(y.flatten(1))


def whole_numbers(model: nn.Module, seed: int) -> nn.Module:
    """Give a model small whole weights: equal coefficients, zeros, sums that cancel."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator))
    return model


def circuits() -> list[provnet.Circuit]:
    torch.manual_seed(11)
    whole = torch.randint(-2, 3, (3, 1, 4, 4)).double()
    return [
        provnet.trace(seeded(lambda: perceptron(6, 7, 5, 3)), torch.randn(3, 6, dtype=torch.float64)),
        provnet.trace(seeded(Residual), torch.randn(2, 2, 6, 6, dtype=torch.float64)),
        provnet.trace(seeded(lambda: small_cnn(8), dtype=torch.float32), torch.rand(2, 1, 8, 8)),
        provnet.trace(whole_numbers(Odd().double(), 1), whole),
        provnet.trace(whole_numbers(Odd(), 2), whole.float()),
    ]


CIRCUITS = circuits()
OPTIONS: list[dict[str, Any]] = [
    {},
    {"rule": "epsilon"},
    {"rule": provnet.rules.AlphaBeta(2, 1)},
    {"rule": "gradient"},
    {"bias": False},
    {"pooling": "proportional"},
    {"pooling": "seed"},
]


def separately(circuit: provnet.Circuit, thetas: list[Threshold], **options: Any) -> list[provnet.Relevance]:
    """The slow twin: one Boolean evaluation each, literally."""
    return [circuit.evaluate("boolean", annotation=theta, route="reference", at="*", **options) for theta in thetas]


def assert_same(found: provnet.Relevance, wanted: provnet.Relevance) -> None:
    for name in wanted.keys():
        assert found[name].dtype == torch.bool
        assert torch.equal(found[name], wanted[name]), (name, found._asked.jobs[0].annotation)
    for totals, others in ((found.bias, wanted.bias), (found.sinks, wanted.sinks)):
        for path in totals.keys() | others.keys():
            nothing = torch.zeros(found.inputs.shape[0], dtype=torch.bool)
            assert torch.equal(totals.get(path, nothing), others.get(path, nothing)), path


def attained(circuit: provnet.Circuit, absolute: bool, **options: Any) -> list[float]:
    """Values that some neuron's widest path attains, so that θ lies on them; 0, and θ below and above all."""
    theta = "absolute" if absolute else "identity"
    widest = circuit.evaluate("bottleneck", annotation=theta, at="*", **options)
    found = torch.cat([widest[name].double().reshape(-1) for name in widest.keys()])
    found = found[torch.isfinite(found)].unique()
    chosen = found[torch.linspace(0, len(found) - 1, min(len(found), 12)).long()].tolist()
    return [*chosen, *(np.nextafter(t, np.inf) for t in chosen[:4]), 0.0, -0.0, 1e-9, -1e-9, -1e30, 1e30, -5e-324]


@pytest.mark.guarantee("a sweep over thresholds costs one pass and gives each answer to the bit")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("number", range(len(CIRCUITS)))
@pytest.mark.parametrize("absolute", [False, True])
def test_a_sweep_is_as_one_by_one(number: int, options: dict[str, Any], absolute: bool):
    circuit = CIRCUITS[number]
    thetas = [
        Threshold(t, strict=strict, absolute=absolute)
        for t in attained(circuit, absolute, **options)
        for strict in (False, True)
    ]
    together = circuit.evaluate("boolean", annotation=thetas, at="*", **options)
    assert all("one pass in Bottleneck" in found.plan[0].why for found in together)
    for found, wanted in zip(together, separately(circuit, thetas, **options), strict=True):
        assert_same(found, wanted)


def test_infinite_thetas_are_not_swept():
    """All that is defined passes -∞, nothing passes ∞, but the target is relevant at every θ."""
    circuit = CIRCUITS[1]
    ends = [Threshold(t, strict=strict) for t in (-np.inf, np.inf, 1e39, -1e39) for strict in (False, True)]
    for found, wanted in zip(
        circuit.evaluate("boolean", annotation=ends, at="*"), separately(circuit, ends), strict=True
    ):
        assert_same(found, wanted)
    single = CIRCUITS[2]  # in float32, 1e39 is ∞
    many = [Threshold(t) for t in (0.1, 0.2, 0.3, 1e39, -1e39)]
    together = single.evaluate("boolean", annotation=many, at="*")
    assert ["Bottleneck" in found.plan[0].why for found in together] == [True, True, True, False, False]
    for found, wanted in zip(together, separately(single, many), strict=True):
        assert_same(found, wanted)


def test_targets_and_weightings_are_swept_apart():
    circuit = CIRCUITS[0]
    thetas = [Threshold(t) for t in (0.0, 0.1, 0.2, 0.4)]
    weighting = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    for target in (provnet.Targets(0, 2), weighting, [2, 0, 1]):
        together = circuit.evaluate("boolean", target, annotation=thetas)
        for found, theta in zip(together, thetas, strict=True):
            wanted = circuit.evaluate("boolean", target, annotation=theta, route="reference")
            assert torch.equal(found.inputs, wanted.inputs)


def test_what_relevance_may_not_pass_is_dropped_in_a_sweep_too():
    circuit = CIRCUITS[1]
    thetas = [Threshold(t) for t in (0.0, 0.05, 0.2)]
    only = {"first": [0, 2]}
    together = circuit.evaluate("boolean", target=0, annotation=thetas, only=only)
    for found, theta in zip(together, thetas, strict=True):
        wanted = circuit.evaluate("boolean", target=0, annotation=theta, only=only, route="reference")
        assert torch.equal(found.inputs, wanted.inputs)
        assert torch.equal(found.conservation().total, wanted.conservation().total)
        assert torch.equal(found["norm"], wanted["norm"])
    for found, theta in zip(circuit.evaluate("boolean", target=0, annotation=thetas, only=only), thetas, strict=True):
        wanted = circuit.evaluate("boolean", target=0, annotation=theta, only=only, route="reference")
        (mine,), (others,) = found._evaluations, wanted._evaluations
        assert mine.dropped.keys() == others.dropped.keys() != set()
        assert all(torch.equal(mine.dropped[i], others.dropped[i]) for i in others.dropped)


def spied(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return a list that will hold the semirings of each walk."""
    walks: list[list[str]] = []
    evaluate = sweep.evaluate

    def spy(workspace: Any, jobs: Any, *rest: Any) -> Any:
        walks.append([job.semiring.name for job in jobs])
        return evaluate(workspace, jobs, *rest)

    monkeypatch.setattr(sweep, "evaluate", spy)
    return walks


def test_a_hundred_thresholds_cost_one_pass(monkeypatch: pytest.MonkeyPatch):
    walks = spied(monkeypatch)
    results = CIRCUITS[0].evaluate("boolean", annotation=[Threshold(i / 100) for i in range(100)])
    assert walks == [["bottleneck"]]
    assert len(results) == 100


class Large(nn.Module):
    """A layer above 2^20 edges."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, torch.ones(1100, 1000, dtype=x.dtype))


@pytest.mark.parametrize(("kernel", "count", "walk"), [(False, 3, 3), (False, 16, 1), (True, 3, 1), (True, 2, 2)])
def test_a_sweep_is_made_where_it_pays(monkeypatch: pytest.MonkeyPatch, kernel: bool, count: int, walk: int):
    """Without a kernel for (max, min) one pass over a large block costs as much as some sixteen Boolean ones."""
    circuit = provnet.trace(Large(), torch.rand(1, 1000))
    walks = spied(monkeypatch)
    if not kernel:
        monkeypatch.setattr(sweep, "candidates", lambda *_: [(ReferenceRoute(), "the definition")])
    else:
        monkeypatch.setattr(sweep, "candidates", lambda *_: [(Winner(), "some kernel")])
    thetas = [Threshold(i / 10000) for i in range(count)]
    found = circuit.evaluate("boolean", 0, annotation=thetas)
    assert [len(jobs) for jobs in walks] == [walk]
    for one, theta in zip(found, thetas, strict=True):
        assert torch.equal(one.inputs, circuit.evaluate("boolean", 0, annotation=theta).inputs)


class Rounded(Threshold):
    """A threshold with another idea of passing."""

    def passes(self, d: Tensor) -> Tensor:
        return d.round(decimals=1) >= self.theta


class Windowed(Threshold):
    """A threshold with another value."""

    def value(self, edges: Edges, semiring: Any, dtype: torch.dtype) -> Tensor:
        return (self.passes(edges.d) & (edges.d <= 0.5)).to(dtype)


@pytest.mark.parametrize(
    ("thetas", "options"),
    [
        ([Threshold(0.1), Threshold(0.2)], {}),
        ([Threshold({"0": 0.1 * i}) for i in range(4)], {}),
        ([Rounded(0.1 * i) for i in range(4)], {}),
        ([Windowed(0.1 * i) for i in range(4)], {}),
        ([Threshold(0.1 * i) for i in range(4)], {"route": "reference"}),
        ([Threshold(0.1 * i) for i in range(4)], {"semiring": "counting"}),
        ([Threshold(0.1), Threshold(0.2), Threshold(0.3, absolute=True)], {}),
    ],
)
def test_what_is_no_sweep_is_evaluated_as_it_is(
    monkeypatch: pytest.MonkeyPatch, thetas: list[Threshold], options: dict[str, Any]
):
    """Two thresholds, one by layer, classes with a mind of their own, a route by name, other semirings, |d| or d."""
    walks = spied(monkeypatch)
    options = {"semiring": "boolean"} | options
    CIRCUITS[0].evaluate(annotation=thetas, **options)
    assert walks == [[options["semiring"]] * len(thetas)]


def test_what_was_not_kept_is_found_one_by_one():
    circuit = CIRCUITS[0]
    thetas = [Threshold(t) for t in (0.0, 0.1, 0.3)]
    for found, wanted in zip(circuit.evaluate("boolean", annotation=thetas), separately(circuit, thetas), strict=True):
        assert torch.equal(found["2"], wanted["2"])
        assert str(found.conservation()) == str(wanted.conservation())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(2, 5), min_size=2, max_size=4), st.booleans(), st.data())
def test_random_perceptrons_with_ties(seed: int, sizes: list[int], absolute: bool, data: st.DataObject):
    """Whole weights and inputs: z = 0, ties and negative coefficients are common, and θ lies on them."""
    model = whole_numbers(perceptron(*sizes).double(), seed)
    x = torch.randint(-2, 3, (2, sizes[0]), generator=torch.Generator().manual_seed(seed)).double()
    circuit = provnet.trace(model, x)
    values = attained(circuit, absolute, target=0)
    chosen = data.draw(st.lists(st.sampled_from(values), min_size=3, max_size=6))
    thetas = [Threshold(t, strict=data.draw(st.booleans()), absolute=absolute) for t in chosen]
    together = circuit.evaluate("boolean", 0, annotation=thetas, at="*")
    for found, wanted in zip(together, separately(circuit, thetas, target=0), strict=True):
        assert_same(found, wanted)
