"""Calls that a user may well make: they work, or are refused by a `ProvnetError` that says what was wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import provnet
from provnet import semirings
from provnet.errors import NonFiniteError, OptionError, ProvnetError, TargetError, ValuationError
from provnet.face.session import Session


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double().eval()
    return provnet.trace(model, torch.randn(3, 6, dtype=torch.float64))


def test_targets_may_be_numpys(circuit: provnet.Circuit):
    wanted = circuit.evaluate("real", target=[0, 2, 1]).inputs
    assert torch.equal(circuit.evaluate("real", target=np.array([0, 2, 1])).inputs, wanted)
    assert torch.equal(circuit.evaluate("real", target=np.eye(3)[[0, 2, 1]]).inputs, wanted)
    with pytest.raises(TargetError, match="2 classes for 3 examples"):
        circuit.evaluate("real", target=np.array([0, 2]))


def test_neurons_may_be_numpys(circuit: provnet.Circuit):
    assert str(circuit.gates(target=0, at=("0", np.int64(3))).roots[0]) == "0[3]"


@pytest.mark.guarantee("an option of the wrong kind is refused by name, not by a TypeError from within")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": torch.ones(2)}, r"start has the shape \(2,\)"),
        ({"memory": "1G"}, "memory='?1G'? bytes"),
        ({"at": 3}, "at=3"),
        ({"semiring": 3}, "3 is no semiring"),
        ({"semiring": None}, "None is no semiring"),
        ({"semiring": semirings.Boolean}, "is no semiring"),
    ],
)
def test_a_wrong_option_is_named(circuit: provnet.Circuit, options: dict[str, Any], says: str):
    with pytest.raises(OptionError, match=says):
        circuit.evaluate(**({"semiring": "real"} | options))


def test_a_batch_that_is_no_number_is_refused(circuit: provnet.Circuit):
    with pytest.raises(TargetError, match=r"batch=1\.5"):
        circuit.gates(batch=1.5)  # pyright: ignore[reportArgumentType]


@pytest.mark.guarantee("values outside a semiring's carrier are refused, on every route and on gates")
@pytest.mark.parametrize("route", ["auto", "reference"])
@pytest.mark.parametrize("semiring", ["non-negative", semirings.Counting("float64")])
def test_an_annotation_that_leaves_the_carrier_is_refused(circuit: provnet.Circuit, semiring: Any, route: str):
    with pytest.raises(ValuationError, match="leaves the carrier"):
        circuit.evaluate(semiring, annotation="identity", route=route)


def test_a_valuation_outside_the_carrier_is_refused(circuit: provnet.Circuit):
    gates = circuit.gates(target=0, at=("input", 0))
    with pytest.raises(ValuationError, match="numbers from 0 to 1"):
        gates.evaluate("viterbi", torch.full((len(gates.variables),), 3.0))
    with pytest.raises(ValuationError, match="leaves the carrier"):
        gates.evaluate("counting", {str(v): -1 for v in gates.variables})


def growing(layers: int) -> nn.Sequential:
    """Return dense layers whose coefficients are 2^23 and 1 - 2^23, while all activations stay 1."""
    model = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(layers)))
    for layer in model:
        nn.init.zeros_(layer.weight)  # type: ignore[union-attr,arg-type]
        with torch.no_grad():
            layer.weight += torch.tensor([2.0**23, 1 - 2.0**23])  # type: ignore[operator]
    return model.eval()


@pytest.mark.guarantee("no Inf leaves an evaluation in a semiring whose carrier has none")
@pytest.mark.parametrize("semiring", ["max-times", "non-negative"])
def test_an_overflow_is_reported(semiring: str):
    circuit = provnet.trace(growing(6), torch.ones(1, 2))
    with pytest.raises(NonFiniteError, match=r"dtype=torch\.float64"):
        circuit.evaluate(semiring, target=0)
    assert torch.isfinite(circuit.evaluate(semiring, target=0, dtype=torch.float64).inputs).all()


def test_outputs_are_copies(circuit: provnet.Circuit):
    wanted = circuit.evaluate("real").inputs.clone()
    circuit.outputs[0].zero_()
    assert torch.equal(provnet.Circuit(Session(circuit.session.data)).evaluate("real").inputs, wanted)


def test_every_refusal_is_of_one_family(circuit: provnet.Circuit):
    calls = [
        lambda: circuit.evaluate("reel"),
        lambda: circuit.evaluate("real", target=9),
        lambda: circuit.evaluate("real", rule="nope"),
        lambda: circuit.evaluate("real", route="fast"),
        lambda: circuit.evaluate("real")["nope"],
        lambda: circuit.gates(at=("0", 99)),
        lambda: circuit.gates(grain="atom"),  # pyright: ignore[reportArgumentType]
    ]
    for call in calls:
        with pytest.raises(ProvnetError):
            call()


@pytest.mark.parametrize("route", ["auto", "reference"])
def test_a_quotient_that_leaves_the_floats_is_undefined_on_every_route(route: str):
    """1 / 1e-39 is no float32: the edge has no share. The tiny relevance that arrives would hide it in R / z."""
    first, second = nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0, 1e-39], [1.0, 0.0, 0.0]]))
        second.weight.copy_(torch.tensor([[1.0, 1.0]]))
    if float(first(torch.ones(1, 3))[0, 0]) == 0:
        pytest.skip("this library adds 1e-39 to 1 before it takes 1 off again")
    circuit = provnet.trace(nn.Sequential(first, second).eval(), torch.ones(1, 3))
    found = circuit.evaluate("real", target=0, route=route).inputs
    assert torch.equal(found, torch.tensor([[1.0, 0.0, 1e-39]]))
    assert torch.equal(found[0], circuit.gates(target=0).evaluate("real").tensor)
