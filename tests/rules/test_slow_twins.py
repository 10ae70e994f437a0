"""Each rule against a slow twin: one neuron at a time, plain Python, written from the papers. Blocks and gates, two
dtypes.

The twin of rules that the reference table knows is in `tests/oracles.py`; here are all of them once more, neuron by
neuron, on convolutions with padding and on activations of both signs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import provnet
from provnet import rules
from tests.edge_lists import Network
from tests.nets import seeded
from tests.transcribe import transcribe

Share = Callable[[Sequence[float], Sequence[float], float | None], tuple[list[float], float]]
"""(activations, weights, bias) of one neuron -> (coefficient of each input, the bias's)."""


def quotient(p: float, z: float) -> float:
    return p / z if z else 0.0


def stabilised(z: float, epsilon: float) -> float:
    return z - epsilon if z < 0 else z + epsilon


def proportional(contribution: Callable[[float, float], float], epsilon: float = 0.0, with_bias: bool = True) -> Share:
    """Shares of a contribution p(a, w); the bias is an input whose activation is one."""

    def share(a: Sequence[float], w: Sequence[float], b: float | None) -> tuple[list[float], float]:
        parts = [contribution(x, y) for x, y in zip(a, w, strict=True)]
        own = contribution(1.0, b) if b is not None and with_bias else 0.0
        z = stabilised(sum(parts) + own, epsilon)
        return [quotient(p, z) for p in parts], quotient(own, z)

    return share


def by_sign_of_z(gamma: float, epsilon: float) -> Share:
    """The generalised gamma rule: weights that pull towards the sign of z are favoured."""

    def share(a: Sequence[float], w: Sequence[float], b: float | None) -> tuple[list[float], float]:
        z = sum(x * y for x, y in zip(a, w, strict=True)) + (b or 0.0)
        sign = (z > 0) - (z < 0)
        if sign == 0:
            return [0.0] * len(a), 0.0
        return proportional(lambda x, y: x * y * (1 + gamma * (x * y * sign > 0)), epsilon)(a, w, b)

    return share


def alpha_beta(alpha: float, beta: float, epsilon: float = 0.0) -> Share:
    def share(a: Sequence[float], w: Sequence[float], b: float | None) -> tuple[list[float], float]:
        up = proportional(lambda x, y: max(x * y, 0.0), epsilon)(a, w, b)
        down = proportional(lambda x, y: min(x * y, 0.0), epsilon)(a, w, b)
        shares = [alpha * u - beta * d for u, d in zip(up[0], down[0], strict=True)]
        return shares, alpha * up[1] - beta * down[1]

    return share


def box(low: float, high: float) -> Share:
    """z^B; the bias's box is [1, 1], so that it has no share."""

    def share(a: Sequence[float], w: Sequence[float], b: float | None) -> tuple[list[float], float]:
        parts = [x * y - low * max(y, 0.0) - high * min(y, 0.0) for x, y in zip(a, w, strict=True)]
        return [quotient(p, sum(parts)) for p in parts], 0.0

    return share


def gradient(a: Sequence[float], w: Sequence[float], b: float | None) -> tuple[list[float], float]:
    return list(w), 0.0


TWINS: dict[str, tuple[rules.Rule, Share]] = {
    "zero": (rules.Zero(), proportional(lambda a, w: a * w)),
    "epsilon": (rules.Epsilon(0.1), proportional(lambda a, w: a * w, 0.1)),
    "gamma": (rules.Gamma(0.3), proportional(lambda a, w: a * (w + 0.3 * max(w, 0.0)))),
    "gamma stabilised": (rules.Gamma(0.3, stabilizer=0.1), proportional(lambda a, w: a * (w + 0.3 * max(w, 0)), 0.1)),
    "gamma signed": (rules.Gamma(0.3, signed=True), by_sign_of_z(0.3, 0.0)),
    "gamma signed stabilised": (rules.Gamma(2.0, signed=True, stabilizer=0.1), by_sign_of_z(2.0, 0.1)),
    "alpha-beta": (rules.AlphaBeta(2, 1), alpha_beta(2, 1)),
    "alpha-beta stabilised": (rules.AlphaBeta(1.5, 0.5, stabilizer=0.1), alpha_beta(1.5, 0.5, 0.1)),
    "z+": (rules.ZPlus(), proportional(lambda a, w: max(a * w, 0.0))),
    "w2": (rules.WSquare(), proportional(lambda a, w: w * w)),
    "w2 stabilised": (rules.WSquare(0.1), proportional(lambda a, w: w * w, 0.1)),
    "flat": (rules.Flat(), proportional(lambda a, w: 1.0, with_bias=False)),
    "absolute": (rules.Absolute(), proportional(lambda a, w: abs(a * w))),
    "norm": (rules.Norm(0.01), proportional(lambda a, w: a * w, 0.01)),
    "zB": (rules.Composite({0: rules.ZBox(-3, 2)}), box(-3, 2)),
}


def slow(network: Network, x: np.ndarray, target: int, share: Share, first_only: bool) -> list[np.ndarray]:
    """Return the relevance of every value, by a loop over neurons and inputs. Other layers keep proportions."""
    values = network.forward(x)
    relevance = [np.zeros(len(value)) for value in values]
    relevance[-1][target] = 1.0
    plain = proportional(lambda a, w: a * w)
    linear = [number for number, layer in enumerate(network.layers) if layer.kind == "linear"]
    for number in reversed(range(len(network.layers))):
        layer = network.layers[number]
        chosen = share if number in linear and (not first_only or number == linear[0]) else plain
        (source,) = layer.inputs
        for k, came in enumerate(relevance[number + 1]):
            slots = [s for s in range(layer.source.shape[1]) if layer.source[k, s] >= 0]
            places = [int(layer.source[k, s]) for s in slots]
            if layer.kind == "pass":
                relevance[source][places] += came
                continue
            w = [1.0 if layer.weight is None else float(layer.weight[k, s]) for s in slots]
            b = None if layer.bias is None else float(layer.bias[k])
            for place, d in zip(places, chosen([float(values[source][p]) for p in places], w, b)[0], strict=True):
                relevance[source][place] += d * came
    return relevance


def models() -> dict[str, tuple[nn.Sequential, tuple[int, ...]]]:
    return {
        "dense": (nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (5,)),
        "convolution": (
            nn.Sequential(
                nn.Conv2d(2, 4, 3, padding=1, stride=2, groups=2),
                nn.ReLU(),
                nn.Conv2d(4, 2, 2, bias=False),
                nn.AvgPool2d(2, padding=0),
                nn.Flatten(),
                nn.Linear(2, 3),
            ),
            (2, 5, 5),
        ),
    }


@pytest.mark.guarantee("each rule equals a slow twin written from the papers, on blocks and gates, in both dtypes")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-3)], ids=["f64", "f32"])
@pytest.mark.parametrize("model", ["dense", "convolution"])
@pytest.mark.parametrize("name", TWINS)
def test_rule(name: str, model: str, dtype: torch.dtype, tolerance: float):
    rule, share = TWINS[name]
    shape = models()[model][1]
    net: Any = seeded(lambda: models()[model][0], 5, dtype)
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(11)).clamp(-2, 2).to(dtype)
    transcript = transcribe(net.double(), shape)
    wanted = slow(transcript.network, x[0].double().numpy(), 1, share, isinstance(rule, rules.Composite))
    circuit = provnet.trace(net.to(dtype), x)
    for route in ("auto", "reference"):
        result = circuit.evaluate("real", 1, rule, route=route)
        for path, number in [("", 0), *transcript.values.items()]:
            mine = (result[path] if path else result.inputs).reshape(-1).double().numpy()
            assert np.abs(mine - wanted[number]).max() <= tolerance * np.abs(wanted[number]).max(), (route, path)
    gates = circuit.gates(1)
    on_gates = torch.stack(list(gates.evaluate("real", gates.valuation("real", rule=rule)).values())).double().numpy()
    assert np.abs(on_gates - wanted[0]).max() <= tolerance * np.abs(wanted[0]).max()


def test_gradient_on_a_linear_network():
    """Without activations the gradient rule is the product of the weights; its twin gives them."""
    net: Any = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)))
    x = torch.randn(1, 4, dtype=torch.float64)
    wanted = slow(transcribe(net, (4,)).network, x[0].numpy(), 2, gradient, False)[0]
    found = provnet.trace(net, x).evaluate("real", 2, "gradient").inputs
    assert np.allclose(found[0].numpy(), wanted, rtol=1e-13)
