"""Small networks with everything that trained ones lack: options, policies and rules, each against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import provnet
from tests.edge_lists import Network
from tests.golden import matches
from tests.nets import Functional, Residual, seeded
from tests.oracles import SEMIRINGS, oracle_relevance
from tests.transcribe import linear, transcribe

TOLERANCE = {"boolean": 0, "counting": 0, "real": 1e-9, "viterbi": 1e-12, "tropical": 1e-12, "bottleneck": 1e-9}

SEQUENTIAL = {
    "strided": ((4, 9, 8), [nn.Conv2d(4, 6, (3, 2), 2, (2, 1), (2, 1), groups=2), nn.ReLU(), nn.Conv2d(6, 2, 2)]),
    "no bias": ((2, 4, 4), [nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3, bias=False)]),
    "overlapping max": ((2, 8, 7), [nn.Conv2d(2, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True)]),
    "dilated max": ((2, 7, 9), [nn.Conv2d(2, 2, 2), nn.MaxPool2d(2, 1, dilation=2), nn.ReLU()]),
    "average ceil": ((2, 8, 7), [nn.Conv2d(2, 2, 1), nn.ReLU(), nn.AvgPool2d(3, 2, 1, ceil_mode=True)]),
    "average inside": ((2, 8, 8), [nn.Conv2d(2, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.ReLU()]),
    "global average": ((2, 5, 6), [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]),
    "dense norm": ((5,), [nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3)]),
    "rows": ((3, 4), [nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2), nn.Flatten(), nn.Linear(6, 2)]),
}


def sequential(name: str) -> tuple[nn.Sequential, tuple[int, ...]]:
    shape, layers = SEQUENTIAL[name]
    model = seeded(lambda: nn.Sequential(*layers))
    assert isinstance(model, nn.Sequential)
    return reset(model), shape


def reset(model: nn.Sequential) -> nn.Sequential:
    """Draw the weights anew: the layers above are made once, at import, from whatever state torch was in."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.7)
    return model


def batch(shape: tuple[int, ...], zeros: bool = True) -> Tensor:
    """Return three examples; the first has whole windows of equal values and of zeros."""
    x = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    if zeros:
        x[0] = x[0].round().clamp(min=0)
    return x


def disagreements(circuit: Any, network: Network, x: Tensor, ours: dict[str, Any], theirs: dict[str, Any]) -> list[Any]:
    """Return where provnet's relevance of the input differs from the oracle's: (semiring, example, target)."""
    found, last = [], network.shapes[-1]
    index = tuple(n // 2 for n in last)
    target = index[0] if len(index) == 1 else index
    results = circuit.evaluate(list(SEMIRINGS), target=target, **ours)
    for semiring, result in zip(SEMIRINGS, results, strict=True):
        for k in range(len(x)):
            wanted = oracle_relevance(network, x[k].numpy(), index, semiring, **theirs)
            relevance = wanted.relevance[0].astype(np.int64) if semiring == "counting" else wanted.relevance[0]
            totals = sum(wanted.bias.values()) if semiring in ("real", "counting") else None
            biases = sum(total[k] for total in result.bias.values()) if totals is not None else None
            if not matches(result.inputs[k], relevance, TOLERANCE[semiring]) or (
                totals is not None and not np.isclose(float(biases or 0), float(totals), rtol=1e-9, atol=1e-9)
            ):
                found.append((semiring, k, index))
    return found


OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "reference route": ({"route": "reference"}, {}),
    "epsilon": ({"rule": provnet.rules.Epsilon(0.1)}, {"rule": "eps0.1"}),
    "unsigned epsilon": ({"rule": provnet.rules.Epsilon(0.1, literal=True)}, {"rule": "epslit0.1"}),
    "no bias edges": ({"bias": False}, {"bias": False}),
    "proportional": ({"pooling": "proportional"}, {"pooling": "proportional"}),
    "seed": ({"pooling": "seed"}, {"pooling": "seed"}),
}


@pytest.mark.guarantee("every option of layers, pooling, bias and rule: equal to the slow loop in six semirings")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", SEQUENTIAL)
def test_sequential_networks_equal_the_oracle(name: str, options: str):
    model, shape = sequential(name)
    x = batch(shape)
    ours, theirs = OPTIONS[options]
    circuit = provnet.trace(model, x)
    assert disagreements(circuit, transcribe(model, shape).network, x, ours, theirs) == []


def residual_network(model: Residual) -> Network:
    network = Network((2, 6, 6))
    x = network.relu(linear(network, model.first, 0))
    y = network.relu(network.sum(linear(network, model.second, x, model.norm), x))
    pools = [network.max_pool(part, (3, 3), (2, 2), (1, 1)) for part in (y, x)]
    linear(network, model.head, network.flatten(network.concatenate(*pools)))
    return network


def functional_network(model: Functional) -> Network:
    network = Network((6,))
    y = network.relu(linear(network, model.shared, 0))
    z = network.sum(network.relu(linear(network, model.shared, y)), y)
    network.dense(network.concatenate(z, 0), model.weight.detach().numpy())
    return network


BRANCHED: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "residual": (Residual, residual_network, (2, 6, 6)),
    "functional": (Functional, functional_network, (6,)),
}


@pytest.mark.guarantee("residuals, concatenations, reused modules and in-place sums: equal to the slow loop")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", BRANCHED)
def test_branched_networks_equal_the_oracle(name: str, options: str):
    make, transcription, shape = BRANCHED[name]
    model = seeded(make)
    x = batch(shape)
    ours, theirs = OPTIONS[options]
    assert disagreements(provnet.trace(model, x), transcription(model), x, ours, theirs) == []


@pytest.mark.guarantee("gates of a network with branches, pooling and concatenation: equal to the slow loop")
@pytest.mark.parametrize("semiring", SEMIRINGS)
@pytest.mark.parametrize("name", BRANCHED)
def test_gates_of_branched_networks_equal_the_oracle(name: str, semiring: str):
    make, transcription, shape = BRANCHED[name]
    model = seeded(make)
    x = batch(shape)
    circuit = provnet.trace(model, x)
    for k in range(len(x)):
        gates = circuit.gates(target=1, batch=k)
        found = torch.stack(list(gates.evaluate(semiring, gates.valuation(semiring)).values()))
        wanted = oracle_relevance(transcription(model), x[k].numpy(), 1, semiring).relevance[0].reshape(-1)
        wanted = wanted.astype(np.int64) if semiring == "counting" else wanted
        assert matches(found, wanted, TOLERANCE[semiring]), k


@pytest.mark.guarantee("Θ(d) = 1 iff d ≥ θ: a share that equals the threshold passes, unless strict")
@pytest.mark.parametrize(("strict", "wanted"), [(False, True), (True, False)])
def test_a_share_that_equals_the_threshold(strict: bool, wanted: bool, device: torch.device):
    model = nn.Linear(2, 1, bias=False).to(device)
    nn.init.ones_(model.weight)
    circuit = provnet.trace(nn.Sequential(model), torch.ones(1, 2, device=device))
    theta = provnet.annotations.Threshold(0.5, strict=strict)
    assert circuit.evaluate("boolean", target=0, annotation=theta).inputs.tolist() == [[wanted, wanted]]


@pytest.mark.guarantee("the loser of a max pooling is an absent edge: zero even at a threshold below zero")
@pytest.mark.parametrize("semiring", ["boolean", "counting"])
def test_a_loser_gets_zero_at_a_threshold_below_zero(semiring: str, device: torch.device):
    x = torch.tensor([[[[2.0, 5.0, 5.0]]]], device=device)
    circuit = provnet.trace(nn.Sequential(nn.MaxPool2d((1, 3)), nn.Flatten()), x)
    found = circuit.evaluate(semiring, target=0, annotation=provnet.annotations.Threshold(-1.0))
    assert found.inputs.reshape(-1).tolist() == [0, 1, 0]
