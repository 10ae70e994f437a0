"""Thresholds on shares: Θ = [|p| / max |p| >= θ], over a neuron's whole set of inputs, bias included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import provnet
from provnet import annotations, rules
from provnet.circuit.weights import Stored
from provnet.errors import OptionError
from provnet.semirings.annotations.threshold import Threshold
from tests.torch_backend.test_routes import ENGINES


def net(seed: int, width: int = 5, zeros: bool = False) -> provnet.Circuit:
    """A small perceptron behind a ReLU; with `zeros`, a neuron whose every contribution is 0."""
    torch.manual_seed(seed)
    first = nn.Linear(4, width)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(width, 3)).double().eval()
    if zeros:
        with torch.no_grad():
            first.weight[1:3] = 0
            first.bias[1:3] = 0
    return provnet.trace(model, torch.randn(3, 4, dtype=torch.float64))


def literal(circuit: provnet.Circuit, theta: float, strict: bool, counting: bool) -> np.ndarray:
    """Return paths (or whether there is one) from each input to output 0, written from the definition."""
    layers = circuit.session.data.blocks[0], circuit.session.data.blocks[2]
    tensors = [circuit.session.data.activations[layer.inputs[0]].handle.numpy() for layer in layers]
    found = []
    for example in range(circuit.batch):
        paths = np.array([1, 0, 0])
        for layer, values in reversed(list(zip(layers, tensors, strict=True))):
            outputs, inputs = len(paths), len(values[example])
            assert isinstance(layer.weight, Stored)
            weights = layer.weight.values.numpy().reshape(outputs, inputs)
            below = np.zeros(inputs, int)
            for k in range(outputs):
                sizes = np.abs([*(values[example] * weights[k]), float(layer.bias[k])])
                for j in range(inputs):
                    share = sizes[j] / sizes.max() if sizes.max() else -1.0
                    below[j] += paths[k] * (share > theta if strict else share >= theta)
            paths = below
        found.append(paths if counting else paths > 0)
    return np.array(found)


def dense(weights: list[list[float]], bias: list[float] | None = None) -> provnet.Circuit:
    """A dense layer with the given weights, fed by ones."""
    model = nn.Linear(len(weights[0]), len(weights), bias=bias is not None).eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weights))
        if bias is not None:
            model.bias.copy_(torch.tensor(bias))
    return provnet.trace(model, torch.ones(1, len(weights[0])))


THETAS = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0.01, 0.99))


@pytest.mark.guarantee("a threshold on shares is |p| / max |p| >= θ with the bias in the maximum, on every route")
@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=25, deadline=None)
@given(theta=THETAS, strict=st.booleans(), seed=st.integers(0, 50), zeros=st.booleans())
def test_shares_pass_as_the_definition_says(engine: str, theta: float, strict: bool, seed: int, zeros: bool) -> None:
    circuit = net(seed, zeros=zeros)
    given_ = annotations.Threshold(theta, strict=strict, of="share")
    for semiring in ("boolean", "counting"):
        wanted = literal(circuit, theta, strict, semiring == "counting")
        for route in ("auto", "reference"):
            answer = circuit.evaluate(semiring, 0, annotation=given_, route=route, engine=engine)
            np.testing.assert_array_equal(np.asarray(answer.inputs), wanted)


def test_gates_and_blocks_agree_on_shares() -> None:
    circuit = net(3)
    theta = annotations.Threshold(0.6, of="share")
    for semiring in ("boolean", "counting"):
        blocks = circuit.evaluate(semiring, 1, annotation=theta, route="reference").inputs
        for example in range(circuit.batch):
            gates = circuit.gates(1, batch=example)
            found = gates.evaluate(semiring, gates.valuation(semiring, annotation=theta))
            assert [bool(v) if semiring == "boolean" else int(v) for v in found.values()] == blocks[example].tolist()


@pytest.mark.guarantee("many thresholds on shares are one pass, and each is the answer of its own")
def test_a_sweep_over_shares_is_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = net(4, width=12, zeros=True)
    thetas = [annotations.Threshold(t, of="share") for t in (0.0, 0.2, 0.5, 0.8, 1.0)]
    together = circuit.evaluate(["boolean"] * len(thetas), 2, annotation=thetas)
    assert "one pass in Bottleneck answers 4 thresholds" in together[1].plan[0].why
    for theta, answer in zip(thetas, together, strict=True):
        alone = circuit.evaluate("boolean", 2, annotation=theta, route="reference")
        assert torch.equal(answer.inputs, alone.inputs)
        assert answer.sinks.keys() == alone.sinks.keys()
        assert all(torch.equal(answer.sinks[path], alone.sinks[path]) for path in alone.sinks)


def test_the_share_does_not_see_cancellation() -> None:
    """10 - 9 = 1: the coefficients are 10 and -9, the shares 1 and 0.9; and 1 - 100 + 100: 0.01 passes no 0.1."""
    circuit = dense([[10.0, -9.0]])
    share = circuit.evaluate("boolean", annotation=Threshold(0.9, of="share")).inputs
    assert share.tolist() == [[True, True]]
    assert circuit.evaluate("boolean", annotation=Threshold(0.9)).inputs.tolist() == [[True, False]]


def test_the_bias_is_in_the_maximum() -> None:
    circuit = dense([[1.0, 3.0]], [6.0])
    half = Threshold(0.5, of="share")
    assert circuit.evaluate("boolean", annotation=half).inputs.tolist() == [[False, True]]
    assert circuit.evaluate("boolean", annotation=half, bias=False).inputs.tolist() == [[False, True]]
    third = Threshold(1 / 3, of="share")
    assert circuit.evaluate("boolean", annotation=third, bias=False).inputs.tolist() == [[True, True]]


def test_shares_by_layer_and_in_words() -> None:
    theta = Threshold({"0": 0.5}, default=0.25, of="share")
    assert theta.at("0").theta == 0.5
    assert theta.at("2").theta == 0.25
    assert theta.at("2").of == "share"
    assert repr(theta.at("0")) == "Threshold(0.5, of='share')"
    assert Threshold(0.5).key() != Threshold(0.5, of="share").key()


REFUSED: list[dict[str, Any]] = [
    {"theta": 1.5, "of": "share"},
    {"theta": -0.1, "of": "share"},
    {"theta": {"0": 2}, "of": "share"},
    {"theta": 0.5, "of": "part"},
]


@pytest.mark.guarantee("a θ of shares that is not from 0 to 1 is refused")
@pytest.mark.parametrize("given", REFUSED, ids=str)
def test_what_is_no_threshold_of_shares_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"from 0 to 1|'share'"):
        Threshold(**given)


def test_repairs_of_shares() -> None:
    """Edits count the edges whose share is too small."""
    circuit = dense([[10.0, -9.0, 1.0]])
    edits = annotations.Edits(Threshold(0.5, of="share"))
    assert circuit.evaluate("tropical", annotation=edits).inputs.tolist() == [[0.0, 0.0, 1.0]]


def test_other_rules_have_their_own_contributions() -> None:
    """Under z+ the negative contributions are no share of anything."""
    circuit = dense([[4.0, -9.0, 1.0]])
    found = circuit.evaluate("boolean", rule=rules.ZPlus(), annotation=Threshold(0.2, of="share"), route="reference")
    assert found.inputs.tolist() == [[True, False, True]]
