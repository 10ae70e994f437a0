"""The size of a sweep's batches where nobody gives one: as many examples as the stated memory holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import provnet
from provnet.applications.datasets import batch_choice as choices
from provnet.applications.datasets.batch_choice import FEWEST, MOST, SHARES, batch_choice
from tests.capture.models import Lambda
from tests.nets import perceptron, seeded

X, Y = torch.rand(3000, 6, generator=torch.Generator().manual_seed(0)), torch.arange(3000) % 4
NEURONS = 6 + 2 * 5 + 4
"""Of `net`: the input, what goes into the ReLU and what comes out of it, the output."""


@pytest.fixture
def net() -> nn.Module:
    return seeded(lambda: perceptron(6, 5, 4), dtype=torch.float32)


def chosen(model: Any, data: Any, semirings: int = 1, processes: int = 1, options: Any = (), **question: Any) -> int:
    return batch_choice(model, data, dict(options), question, semirings, processes)


def test_small_networks_get_large_batches_up_to_a_bound_and_few_examples_are_not_looked_at(net: nn.Module) -> None:
    sizes = [chosen(net, data) for data in (X, (X, Y), TensorDataset(X, Y), X[:MOST], X[:700], X[:64])]
    assert sizes == [1500, 1500, 1500, MOST, 700, 64]  # two batches of 1500 rather than one of 2048 and a rest
    assert chosen(None, X[:FEWEST]) == FEWEST  # nothing is traced


def test_memory_bounds_a_batch_and_each_semiring_counts(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    width = X.element_size()
    monkeypatch.setattr(choices, "MEMORY", 100 * width * NEURONS * 5)
    assert chosen(net, X, semirings=4) == 100
    assert chosen(net, X, semirings=1) == 250
    monkeypatch.setattr(choices, "MEMORY", 1)
    assert chosen(net, X) == FEWEST


def test_the_weights_that_are_asked_for_count_too(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "MEMORY", 100 * X.element_size() * (NEURONS * 2 + 30))
    assert chosen(net, X, options={"sources": ["input", "0.weight"]}) == 100


def test_each_process_gets_several_batches(net: nn.Module) -> None:
    assert chosen(net, X, processes=2) == -(-len(X) // (2 * SHARES + 1))
    assert chosen(net, X, processes=50) == FEWEST


@pytest.mark.parametrize("target", [[1] * FEWEST, Y[:FEWEST], np.ones(FEWEST, int), provnet.Targets([1] * FEWEST, 2)])
def test_what_lists_examples_holds_for_the_smallest_batch_alone(net: nn.Module, target: Any) -> None:
    assert chosen(net, X, target=target) == FEWEST
    assert chosen(net, X, start=target) == FEWEST
    assert chosen(net, X, target=provnet.Targets(1, 2), start="one") == 1500


def test_data_and_models_that_tell_nothing_keep_the_smallest(net: nn.Module) -> None:
    def of_pairs(x: Tensor) -> Tensor:
        return x.reshape(len(x) // 2, 2, 6).flip(1).reshape(len(x), 6)

    assert chosen(net, DataLoader(TensorDataset(X), 4)) == FEWEST
    assert chosen(Lambda(of_pairs), X) == FEWEST
    assert chosen(net, X.to(torch.int64)) == FEWEST


def test_a_sweep_without_a_size_gives_what_one_with_a_size_gives(net: nn.Module) -> None:
    data, asked = (X[:150], Y[:150]), {"combine": ["any", "count"], "by": "label", "target": "label"}
    found = provnet.sweep(net, data, ["boolean", "counting"], **asked)
    assert found.settings["batch_size"] == 150
    for size in (64, 150):
        other = provnet.sweep(net, data, ["boolean", "counting"], batch_size=size, **asked)
        assert all(torch.equal(found.states[key], state) for key, state in other.states.items())
