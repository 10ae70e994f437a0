"""Parameters as sources: the ⊕ of the messages over the edges that they stand on, for each example its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.errors import OptionError, UnknownNameError, UnsupportedOperationError
from tests.nonlinear_cases import fill, seeded

THRESHOLD = provnet.annotations.Threshold(0.0)


def filled(net: nn.Module) -> Any:
    for number, parameter in enumerate(net.parameters()):
        fill(parameter, 50 + number)
    return net.double().eval()


class Image(nn.Module):
    """Weights at many places, in a layer that is called twice, and tied ones that are transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.filter, self.twice, self.up = nn.Conv1d(1, 2, 2), nn.Linear(4, 4), nn.ConvTranspose1d(2, 1, 2, 2)
        self.tied = nn.Linear(4, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.filter(x).relu()[:, :, :2].flatten(1)
        h = self.twice(self.twice(h).relu()).relu()
        h = (self.tied(h).relu() @ self.tied.weight).relu()
        return self.up(h.unflatten(1, (2, 2))).flatten(1)


NAMES = ("filter.weight", "filter.bias", "twice.weight", "twice.bias", "tied.weight", "up.weight", "up.bias")


@pytest.fixture(scope="module")
def image() -> tuple[Any, Tensor, provnet.Circuit]:
    net, x = filled(Image()), seeded(51, 2, 1, 4)
    return net, x, provnet.trace(net, x, sources=["x", *NAMES])


@pytest.mark.guarantee(
    "LRP-0 of a parameter is the parameter times its derivative, where the network is piecewise linear"
)
@pytest.mark.parametrize("route", ["auto", "reference"])
def test_relevance_is_the_weight_times_its_derivative(image: tuple[Any, Tensor, provnet.Circuit], route: str) -> None:
    net, x, circuit = image
    found = circuit.evaluate("real", 1, start="logit", route=route)
    assert tuple(found.parameters) == NAMES
    for example in range(len(x)):
        y = net(x[example : example + 1])[0, 1]
        for name in NAMES:
            parameter = net.get_parameter(name)
            (slope,) = torch.autograd.grad(y, parameter, retain_graph=True)
            torch.testing.assert_close(found[name][example], parameter * slope, rtol=1e-9, atol=1e-12)


def test_inputs_have_the_relevance_that_they_have_without(image: tuple[Any, Tensor, provnet.Circuit]) -> None:
    net, x, circuit = image
    assert circuit.sources == ("input",)
    alone = provnet.trace(net, x).evaluate("real", 1)
    assert torch.equal(circuit.evaluate("real", 1).inputs, alone.inputs)
    assert torch.equal(provnet.trace(net, x, sources="up.bias").evaluate("real", 1).inputs, alone.inputs)


@pytest.mark.guarantee("a layer's weights and biases share what its outputs got; Boolean is where counting is not zero")
def test_a_layer_shares_what_its_outputs_got(image: tuple[Any, Tensor, provnet.Circuit]) -> None:
    _, _, circuit = image
    real = circuit.evaluate("real", 1)
    got = real["filter.weight"].flatten(1).sum(1) + real["filter.bias"].sum(1)
    torch.testing.assert_close(got, real["filter"].flatten(1).sum(1), rtol=1e-9, atol=1e-12)
    boolean, counts = (circuit.evaluate(s, 1, annotation=THRESHOLD) for s in ("boolean", "counting"))
    for name in NAMES:
        assert torch.equal(boolean[name], counts[name] > 0)


def test_messages_are_the_slow_twin(image: tuple[Any, Tensor, provnet.Circuit]) -> None:
    """Of a dense layer, a message belongs to one weight: two calls are ⊕-ed."""
    _, _, circuit = image
    for semiring in ("real", "viterbi", "counting"):
        found = circuit.evaluate(semiring, 1)
        calls = [found.messages(path) for path in ("twice#0", "twice#1")]
        combined = torch.maximum(*calls) if semiring == "viterbi" else calls[0] + calls[1]
        assert torch.equal(found["twice.weight"], combined[:, :, :4])
        assert torch.equal(found["twice.bias"], combined[:, :, 4])


def test_a_file_and_another_batch_have_them(image: tuple[Any, Tensor, provnet.Circuit], tmp_path: Path) -> None:
    net, x, circuit = image
    provnet.save(circuit, tmp_path / "circuit")
    loaded = provnet.load(tmp_path / "circuit")
    assert isinstance(loaded, provnet.Circuit)
    wanted = circuit.evaluate("real", 1)
    for other in (loaded, provnet.trace(net, x[:1], sources=list(NAMES)).on(x)):
        found = other.evaluate("real", 1)
        for name in NAMES:
            torch.testing.assert_close(found[name], wanted[name], rtol=1e-12, atol=1e-14)


def test_a_part_of_a_parameter_is_its_own() -> None:
    """An attention's queries, keys and values are parts of one weight."""
    net = filled(nn.MultiheadAttention(4, 2, batch_first=True, bias=False))
    circuit = provnet.trace(lambda x: net(x, x, x)[0], seeded(52, 2, 3, 4))
    with pytest.raises(UnknownNameError):  # a function has no parameters by name
        provnet.trace(lambda x: net(x, x, x)[0], seeded(52, 2, 3, 4), sources=["in_proj_weight"])
    assert circuit.batch == 2

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = net

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x)[0].flatten(1)

    found = provnet.trace(Own(), seeded(52, 2, 3, 4), sources=["attention.in_proj_weight"]).evaluate("real", 0)
    weight = found["attention.in_proj_weight"]
    assert weight.shape == (2, 12, 4)
    assert bool((weight.unflatten(1, (3, 4)).abs().sum((2, 3)) > 0).all())


class Refused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm, self.conv = nn.Embedding(5, 2), nn.LayerNorm(2), nn.Conv1d(1, 1, 1)
        self.batch_norm, self.idle = nn.BatchNorm1d(1), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        position = self.table(torch.arange(x.shape[1])).sum(1)
        return self.norm(self.batch_norm(self.conv((x + position)[:, None])).flatten(1))


@pytest.mark.guarantee("a parameter that is on no edge is refused as a source, by name, with the reason")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("norm.weight", "not as weights or biases of its edges"),
        ("conv.weight", r"trace\(batch_norm='kept'\)"),
        ("table.weight", "no edge of this circuit has it as its weight"),
        ("idle", "no edge of this circuit has it as its weight"),
    ],
)
def test_parameters_on_no_edge_are_refused(name: str, why: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=why):
        provnet.trace(filled(Refused()), seeded(53, 2, 2), sources=[name])


def test_ways_out() -> None:
    net, x = filled(Refused()), seeded(53, 2, 2)
    circuit = provnet.trace(net, x, sources=["conv.weight"], batch_norm="kept")
    assert circuit.evaluate("real", 0)["conv.weight"].shape == (2, 1, 1, 1)
    with pytest.raises(UnsupportedOperationError, match="or autograd for the derivative by a parameter"):
        circuit.evaluate("real", 0, rule="gradient")["conv.weight"]
    with pytest.raises(OptionError, match="copy=True"):
        provnet.trace(net, x, sources=["conv.weight"], copy=True)
    with pytest.raises(UnknownNameError, match="no tensor argument"):
        provnet.trace(net, x, sources=["conv.wieght"])
