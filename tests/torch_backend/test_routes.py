"""Every fast route against the definition: random networks with signs, zeros and ties, thresholds on attained
values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import provnet
from provnet.errors import NonFiniteError
from provnet.face.session import Session
from provnet.rules import AlphaBeta, Epsilon, Gamma, WSquare, Zero, ZPlus
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations import Threshold
from provnet.semirings.counting import Counting
from provnet.torch_backend import contractions
from provnet.torch_backend.contractions.numba_engine import NUMBA

LAYERS = ("dense", "rows", "grouped", "strided", "depthwise", "pooled", "sum")
DTYPES = (torch.float32, torch.float64)
ENGINES = ("torch", pytest.param("numba", marks=pytest.mark.skipif(not NUMBA, reason="numba is not installed")))
CONTRACTED = ("dense", "rows", "grouped", "strided", "depthwise")
"""Layers that a compiled contraction takes."""


@contextmanager
def by(engine: str) -> Iterator[None]:
    """Take the engine for every block that it can take, however small; "torch": for none."""
    with contractions.engine_chosen(engine):
        yield


class Twice(nn.Module):
    """A sum in which one part is repeated."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x[:, :1]


def layer(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Return one layer and the shape of an example."""
    return {
        "dense": (nn.Linear(12, 9), (12,)),
        "rows": (nn.Linear(5, 4), (3, 5)),
        "grouped": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 5, 4)),
        "strided": (nn.Conv1d(3, 5, 3, stride=2, padding=2, dilation=2, bias=False), (3, 9)),
        "depthwise": (nn.Conv2d(3, 3, 2, groups=3), (3, 4, 4)),
        "pooled": (nn.AvgPool2d(3, stride=2, padding=1), (2, 6, 5)),
        "sum": (Twice(), (4, 3)),
    }[name]


def network(name: str, seed: int, dtype: torch.dtype, scale: float = 1.0) -> tuple[nn.Module, Tensor]:
    """Small whole numbers, many zeros and ties, both signs; so that scores meet thresholds exactly."""
    generator = torch.Generator().manual_seed(seed)
    module, shape = layer(name)
    module = module.to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randint(-3, 4, parameter.shape, generator=generator))
    x = torch.randint(-3, 4, (2, *shape), generator=generator).to(dtype) * scale
    return module, x


def weighting(circuit: provnet.Circuit, seed: int) -> Tensor:
    """Half of the outputs matter."""
    generator = torch.Generator().manual_seed(seed)
    shape = circuit.outputs[0].shape
    return torch.randint(0, 2, shape, generator=generator).double()


def attained(circuit: provnet.Circuit, dtype: torch.dtype) -> list[float]:
    """Return all positive coefficients that occur, each with its neighbours."""
    workspace = circuit.session.workspace(dtype)
    index = next(i for i, block in enumerate(circuit.session.data.blocks) if block.has_coefficients)
    prepared = workspace.prepared(index, Zero())
    d = prepared.at(torch.arange(prepared.block.wiring.outputs), slice(0, circuit.batch)).d
    values = d[d > 0].unique()
    up, down = torch.nextafter(values, values + 1), torch.nextafter(values, values * 0)
    return torch.cat([values, up, down]).tolist()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
@given(seed=st.integers(0, 10**6), data=st.data())
@pytest.mark.guarantee("Boolean reachability by scores equals the definition, at thresholds placed on attained values")
def test_threshold_scores_are_exact(engine: str, name: str, dtype: torch.dtype, seed: int, data: st.DataObject):
    model, x = network(name, seed, dtype)
    circuit = provnet.trace(model, x)
    theta = data.draw(st.sampled_from(attained(circuit, dtype) or [0.5]))
    annotation = Threshold(theta, strict=data.draw(st.booleans()), absolute=data.draw(st.booleans()))
    options = {"target": weighting(circuit, seed), "annotation": annotation, "rule": data.draw(st.sampled_from(RULES))}
    with by(engine):
        fast = circuit.evaluate("boolean", **options)
    slow = circuit.evaluate("boolean", route="reference", **options)
    assert torch.equal(fast.inputs, slow.inputs)
    assert all(torch.equal(fast.bias[path], slow.bias[path]) for path in slow.bias)
    nothing = torch.zeros(2, dtype=torch.bool)
    for path in {*fast.sinks, *slow.sinks}:
        assert torch.equal(fast.sinks.get(path, nothing), slow.sinks.get(path, nothing))


RULES = (Zero(), Epsilon(0.5), Gamma(0.25))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_max_times_is_within_eight_units(engine: str, name: str, dtype: torch.dtype, seed: int, data: st.DataObject):
    model, x = network(name, seed, dtype)
    circuit = provnet.trace(model, x)
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(circuit.outputs[0].shape, generator=generator, dtype=torch.float64) * weighting(circuit, seed)
    options = {"target": start, "rule": data.draw(st.sampled_from(RULES))}
    with by(engine):
        fast = circuit.evaluate("viterbi", **options)
    slow = circuit.evaluate("viterbi", route="reference", **options)
    close(fast.inputs, slow.inputs)
    for path in slow.bias:
        close(fast.bias[path], slow.bias[path])
    assert "max-times" in {step.route for step in fast.plan}


def same_totals(fast: provnet.Relevance, slow: provnet.Relevance, semiring: str) -> None:
    """Biases and sinks are the same; one that is absent is nothing."""
    zero = provnet.semirings.get(semiring).zero
    for found, wanted in ((fast.bias, slow.bias), (fast.sinks, slow.sinks)):
        for path in {*found, *wanted}:
            like = found[path] if path in found else wanted[path]
            nothing = torch.full_like(like, zero)  # pyright: ignore[reportArgumentType]
            torch.testing.assert_close(found.get(path, nothing), wanted.get(path, nothing), rtol=0, atol=0)


@pytest.mark.skipif(not NUMBA, reason="numba is not installed")
@pytest.mark.parametrize("name", CONTRACTED)
@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=st.integers(0, 10**6), data=st.data())
@pytest.mark.guarantee("counts by compiled comparisons equal the definition, at thresholds placed on attained values")
def test_compiled_counts_are_exact(name: str, dtype: torch.dtype, seed: int, data: st.DataObject):
    model, x = network(name, seed, dtype)
    circuit = provnet.trace(model, x)
    options_of: dict[str, Any] = {"strict": data.draw(st.booleans()), "absolute": data.draw(st.booleans())}
    theta = data.draw(st.sampled_from([*(attained(circuit, dtype) or [0.5]), -0.5, -1.0]))
    start = (torch.randint(0, 4, circuit.outputs[0].shape) * weighting(circuit, seed)).long()
    options = {"target": start, "annotation": Threshold(theta, **options_of), "rule": data.draw(st.sampled_from(RULES))}
    for semiring in (Counting(), Counting("float64")):
        if semiring.overflow == "float64":
            options["target"] = start.double()
        with by("numba"):
            fast = circuit.evaluate(semiring, **options)
        slow = circuit.evaluate(semiring, route="reference", **options)
        assert torch.equal(fast.inputs, slow.inputs)
        same_totals(fast, slow, "counting")
        aside = options_of["absolute"] and theta <= 0
        assert ("passing" in {step.route for step in fast.plan}) != aside


@pytest.mark.skipif(not NUMBA, reason="numba is not installed")
@pytest.mark.parametrize("name", CONTRACTED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("semiring", ["bottleneck", "fuzzy", "lukasiewicz", "max-times", "min-plus", "arctic"])
@given(seed=st.integers(0, 10**6), rule=st.sampled_from((Zero(), Epsilon(0.5), Gamma(0.25))))
@pytest.mark.guarantee("kernels generated from scalar expressions give the definition's bits where plus does not round")
def test_compiled_edges_are_the_definition(name: str, dtype: torch.dtype, semiring: str, seed: int, rule: Rule):
    model, x = network(name, seed, dtype)
    circuit = provnet.trace(model, x)
    start = weighting(circuit, seed)  # 0 stands for the semiring's zero
    with by("numba"):
        fast = circuit.evaluate(semiring, target=start, rule=rule)
    slow = circuit.evaluate(semiring, target=start, rule=rule, route="reference")
    eps = torch.finfo(dtype).eps
    # The logarithms of the two libraries differ in their last bit.
    tolerance = 4 * eps if semiring in ("min-plus", "arctic") else 0
    torch.testing.assert_close(fast.inputs, slow.inputs, rtol=tolerance, atol=tolerance)
    assert "edges" in {step.route for step in fast.plan}


@pytest.mark.parametrize("name", CONTRACTED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
@given(seed=st.integers(0, 10**6), data=st.data())
@pytest.mark.guarantee("tropical costs by best products are within 8 ulp of max(1, cost) of the definition")
def test_cheapest_is_within_eight_units(engine: str, name: str, dtype: torch.dtype, seed: int, data: st.DataObject):
    model, x = network(name, seed, dtype)
    circuit = provnet.trace(model, x)
    costs = torch.rand(circuit.outputs[0].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    start = 20 * costs * weighting(circuit, seed)  # 0 stands for the semiring's zero, no path
    options = {"target": start, "rule": data.draw(st.sampled_from(RULES))}
    with by(engine):
        fast = circuit.evaluate("tropical", **options)
    slow = circuit.evaluate("tropical", route="reference", **options)
    assert (fast.inputs >= 0).all()
    assert torch.equal(fast.inputs == torch.inf, slow.inputs == torch.inf)
    finite = slow.inputs < torch.inf
    gap = (fast.inputs[finite] - slow.inputs[finite]).abs()
    assert (gap <= 8 * torch.finfo(dtype).eps * slow.inputs[finite].clamp(min=1)).all()
    assert "cheapest" in {step.route for step in fast.plan}


def close(found: Tensor, wanted: Tensor) -> None:
    assert (found <= 1).all()
    assert ((found - wanted).abs() <= 8 * torch.finfo(wanted.dtype).eps * wanted).all()


@pytest.mark.parametrize("name", LAYERS)
@given(seed=st.integers(0, 10**6))
def test_transposed_maps_are_the_definition_to_rounding(name: str, seed: int):
    model, x = network(name, seed, torch.float64)
    circuit = provnet.trace(model, x)
    for rule in (*RULES, ZPlus(), AlphaBeta(2.0, 1.0)):
        options = {"target": weighting(circuit, seed), "rule": rule}
        fast, slow = circuit.evaluate("real", **options), circuit.evaluate("real", route="reference", **options)
        torch.testing.assert_close(fast.inputs, slow.inputs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-18, 1e18, 1e30])
@pytest.mark.parametrize("semiring", ["boolean", "viterbi", "real", "tropical", "counting", "bottleneck", "fuzzy"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.guarantee("extreme scales (1e-40 to 1e30 in float32): fast routes step aside, no NaN, no wrong number")
def test_extreme_scales(engine: str, scale: float, semiring: str):
    model, x = network("dense", 7, torch.float32, scale)
    with torch.no_grad():
        model.bias.zero_()  # type: ignore[union-attr]
    circuit = provnet.trace(model, x)
    with by(engine):
        fast = circuit.evaluate(semiring)
    slow = circuit.evaluate(semiring, route="reference")
    assert not torch.isnan(fast.inputs.double()).any()
    if semiring in ("boolean", "counting", "bottleneck"):
        assert torch.equal(fast.inputs, slow.inputs)
    else:
        torch.testing.assert_close(fast.inputs, slow.inputs, rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 10**6))
def test_thresholds_among_denormal_contributions(seed: int):
    """Near θ the contributions are denormal numbers, which keep a few bits: three roundings do not agree to 8 ulp."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(40, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_((torch.rand(1, 40, generator=generator) + 0.5) * 1e-9)
        model.weight[0, 0] = 1.0
    circuit = provnet.trace(model, (torch.rand(1, 40, generator=generator) + 0.5) * 1e-33)
    theta = attained(circuit, torch.float32)[seed % 40]
    fast = circuit.evaluate("boolean", annotation=Threshold(theta))
    assert torch.equal(fast.inputs, circuit.evaluate("boolean", annotation=Threshold(theta), route="reference").inputs)


@given(seed=st.integers(0, 10**6))
def test_thresholds_where_a_score_is_denormal_before_the_activation(seed: int):
    """w / z is a denormal number, a is huge: the score comes near θ with a few bits only."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(40, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_((torch.rand(1, 40, generator=generator) + 0.5) * 1e-12)
        model.weight[0, 0] = 1.0
    x = (torch.rand(1, 40, generator=generator) + 0.5) * 1e29
    circuit = provnet.trace(model, x)
    theta = attained(circuit, torch.float32)[seed % 40]
    fast = circuit.evaluate("boolean", annotation=Threshold(theta))
    assert torch.equal(fast.inputs, circuit.evaluate("boolean", annotation=Threshold(theta), route="reference").inputs)


def test_a_bias_whose_share_overflows_is_not_defined():
    """1e30 / 1e-20 is no float32: the coefficient is undefined, and Boolean relevance does not pass."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(-1e30)
        model.bias.fill_(1e30)
    circuit = provnet.trace(model, torch.ones(1, 1))
    block = circuit.session.data.blocks[0]
    with torch.no_grad():
        circuit.session.data.activations[block.output].handle.fill_(1e-20)  # what cancellation may leave
    circuit = provnet.Circuit(Session(circuit.session.data))
    fast, slow = circuit.evaluate("boolean"), circuit.evaluate("boolean", route="reference")
    assert not slow.bias[block.path].any()
    assert torch.equal(fast.bias[block.path], slow.bias[block.path])


@given(seed=st.integers(0, 10**6))
def test_products_that_underflow_before_the_activation(seed: int):
    """|w| R / m underflows to 0, and |a| would have lifted it: the route must step aside."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1e-22, 1e-23, 1e-24, 1.0]]))
    x = (torch.rand(1, 4, generator=generator) + 0.5) * 1e24
    circuit = provnet.trace(model, x)
    fast, slow = circuit.evaluate("viterbi"), circuit.evaluate("viterbi", route="reference")
    close(fast.inputs, slow.inputs)


def test_an_all_zero_layer_has_no_relevance_but_at_the_sinks():
    circuit = provnet.trace(nn.Linear(3, 2, bias=False), torch.zeros(1, 3))
    for name in ("boolean", "viterbi", "real", "tropical", "counting", "bottleneck"):
        found, algebra = circuit.evaluate(name, target=0), provnet.semirings.get(name)
        assert (found.inputs == algebra.zero).all(), name


@pytest.mark.skipif(not NUMBA, reason="numba is not installed")
@given(seed=st.integers(0, 10**6))
def test_a_users_semiring_with_a_text_gets_a_kernel(seed: int):
    model, x = network("grouped", seed, torch.float32)
    circuit = provnet.trace(model, x)
    widest: dict[str, Any] = {"zero": float("-inf"), "one": float("inf"), "idempotent": True}
    plain = provnet.semirings.make(torch.maximum, torch.minimum, **widest)
    told = provnet.semirings.make(torch.maximum, torch.minimum, scalar=("max(x, y)", "min(x, y)"), **widest)
    with by("numba"):
        fast, slow = (
            circuit.evaluate(told, target=weighting(circuit, seed)),
            circuit.evaluate(plain, target=weighting(circuit, seed)),
        )
    assert torch.equal(fast.inputs, slow.inputs)
    assert [{step.route for step in result.plan} for result in (fast, slow)] == [{"edges"}, {"reference"}]


@pytest.mark.skipif(not NUMBA, reason="numba is not installed")
def test_infinities_that_may_make_a_nan_keep_a_users_semiring_from_its_kernel():
    model, x = network("dense", 3, torch.float32)
    assert isinstance(model.weight, Tensor)
    with torch.no_grad():
        model.weight[0] = 0  # an edge of 0, which meets inf
    made = provnet.semirings.make(
        torch.maximum, torch.mul, 0.0, 1.0, annotation="absolute", scalar=("max(x, y)", "x * y"), idempotent=True
    )
    circuit = provnet.trace(model, x)
    with by("numba"):
        assert {step.route for step in circuit.evaluate(made, target=1).plan} == {"edges"}
        for route in ("auto", "reference"):
            with pytest.raises(NonFiniteError):
                circuit.evaluate(made, target=1, start=float("inf"), route=route)


@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "fuzzy", "lukasiewicz"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("route", ["auto", "reference"])
@pytest.mark.guarantee("contributions that overflow have no shares: every route refuses them")
def test_infinite_contributions_are_refused(engine: str, semiring: str, route: str):
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight.fill_(1e30)  # its square is infinite
        model.bias.zero_()
    circuit = provnet.trace(model, torch.full((1, 4), 1e-10))
    with by(engine), pytest.raises(NonFiniteError, match=r"float64"):
        circuit.evaluate(semiring, target=0, rule=WSquare(), route=route)


class Below(Threshold):
    """Another meaning, in the one method that says it."""

    def passes(self, d: Tensor) -> Tensor:
        return d < self.rounded(d.dtype)


@pytest.mark.parametrize("semiring", ["boolean", "counting"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.guarantee("a subclass that changes what an annotation function means inherits no shortcut")
def test_a_subclass_inherits_no_shortcut(engine: str, semiring: str):
    model, x = network("dense", 1, torch.float32)
    circuit = provnet.trace(model, x)
    with by(engine):
        fast = circuit.evaluate(semiring, target=0, annotation=Below(0.1))
    slow = circuit.evaluate(semiring, target=0, annotation=Below(0.1), route="reference")
    assert torch.equal(fast.inputs, slow.inputs)
    assert not torch.equal(fast.inputs, circuit.evaluate(semiring, target=0, annotation=Threshold(0.1)).inputs)


class Deepest(Counting):
    """Another algebra under the same name."""

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(x, y)

    def sum(self, x: Tensor, dim: int) -> Tensor:
        return x.amax(dim)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_subclass_of_counting_inherits_no_shortcut(engine: str):
    model, x = network("dense", 1, torch.float32)
    circuit = provnet.trace(model, x)
    start = torch.ones(2, 9, dtype=torch.int64)
    with by(engine):
        assert int(circuit.evaluate(Deepest(), target=start).inputs.max()) == 1
    assert int(circuit.evaluate(Counting(), target=start).inputs.max()) > 1
