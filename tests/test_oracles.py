"""The oracle itself: held against an independent table of exact values, and its forward pass against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.edge_lists import Network
from tests.golden import entries, matches
from tests.nets import small_cnn
from tests.oracles import SEMIRINGS, Answer, oracle_relevance
from tests.transcribe import transcribe

VALUES = (0, 2, 4, 5)
"""Golden's layers 0 to 3 among the oracle's values: a ReLU stands between the dense layers."""
DENSE = (0, 2, 4)
"""Golden's weights 0 to 2 among the oracle's layers."""


def golden_network(golden: dict[str, np.ndarray]) -> Network:
    network, x = Network((3,)), 0
    for layer in range(3):
        x = network.dense(x, golden[f"W{layer}"], golden[f"b{layer}"])
        x = network.relu(x) if layer < 2 else x
    return network


def oracle_rule(name: str) -> str | dict[int, str]:
    """Golden's name of a rule -> the oracle's: `_first` means in the first layer, LRP-0 above."""
    return {DENSE[0]: name.removesuffix("_first")} if name.endswith("_first") else name.removesuffix("_all")


def part(answer: Answer, name: str) -> Any:
    """Return R0…R3, bias0…bias2 or messages0…messages2 of an answer."""
    kind, layer = name[:-1], int(name[-1])
    if kind == "R":
        return answer.relevance[VALUES[layer]]
    return answer.bias[DENSE[layer]] if kind == "bias" else answer.messages[DENSE[layer]]


@pytest.mark.guarantee("the oracle reproduces every exact value of the reference table (all rules, messages, biases)")
def test_every_golden_entry(golden: dict[str, np.ndarray]):
    network, wrong, number = golden_network(golden), [], 0
    for question, wanted in entries(golden).items():
        answer = oracle_relevance(
            network,
            golden["x"][question.example],
            question.target,
            question.semiring,
            oracle_rule(question.rule),
            question.theta,
        )
        number += len(wanted)
        wrong += [(question, name) for name, value in wanted.items() if not matches(part(answer, name), value)]
    assert wrong == []
    assert number == 3360


def test_activations(golden: dict[str, np.ndarray]):
    for k in range(2):
        values = golden_network(golden).forward(golden["x"][k])
        for layer, value in enumerate(VALUES):
            np.testing.assert_allclose(values[value], golden[f"x{k}|activation{layer}"], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(4, 6, (3, 2), stride=2, padding=(2, 1), dilation=(2, 1), groups=2, bias=False), (4, 9, 8)),
        (nn.Conv2d(2, 3, 3, padding=1), (2, 5, 5)),
        (nn.Linear(5, 3), (2, 5)),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 8, 7)),
        (nn.MaxPool2d(2, 3, ceil_mode=True), (2, 8, 7)),
        (nn.MaxPool2d(2, 1, dilation=2), (2, 7, 9)),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 8, 7)),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 8, 8)),
        (nn.AdaptiveAvgPool2d(1), (2, 7, 9)),
        (nn.BatchNorm2d(2), (2, 3, 3)),
        (small_cnn(8), (1, 8, 8)),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
@pytest.mark.parametrize("fuse", [True, False])
def test_its_edges_compute_what_torch_computes(module: nn.Module, shape: tuple[int, ...], fuse: bool):
    sequential = module if isinstance(module, nn.Sequential) else nn.Sequential(module)
    model = sequential.double().eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.copy_(torch.linspace(-1, 1, norm.num_features))
            norm.running_var.copy_(torch.linspace(0.5, 2, norm.num_features))
    x = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = transcribe(model, shape, fuse=fuse).network
    with torch.no_grad():
        wanted = model(x)[0].numpy()
    np.testing.assert_allclose(network.forward(x.numpy())[-1], wanted.reshape(-1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_a_loser_of_a_max_pooling_gets_zero_even_at_a_threshold_below_zero(semiring: str):
    network = Network((1, 1, 3))
    network.max_pool(0, (1, 3), (1, 1))
    found = oracle_relevance(network, np.array([2.0, 5.0, 5.0]), 0, semiring, theta=-1).relevance[0].reshape(-1)
    zero, one = SEMIRINGS[semiring].zero, SEMIRINGS[semiring].one
    # Bottleneck's edge is its coefficient, 1, and not the semiring's one, which is infinity.
    assert found.tolist() == [zero, 1.0 if semiring == "bottleneck" else one, zero]


def test_a_value_that_is_read_twice_gets_both_parts():
    network = Network((2,))
    network.sum(0, 0)
    assert oracle_relevance(network, np.array([1.0, 2.0]), 1, "counting").relevance[0].tolist() == [0, 2]
    assert oracle_relevance(network, np.array([1.0, 2.0]), 1, "real").relevance[0].tolist() == [0.0, 1.0]
