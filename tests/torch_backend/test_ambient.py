"""What surrounds a call (autocast, a default device, gradient modes) changes no number and is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.face.session import Session

SIX = ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck"]

SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another default device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(12, 3)).eval()


@pytest.mark.guarantee("autocast, a default device or inference mode around an evaluation change no number")
@pytest.mark.parametrize("name", SURROUNDINGS)
@pytest.mark.parametrize("rule", ["zero", provnet.rules.Gamma(0.25)])
def test_surroundings_change_no_number(name: str, rule: Any):
    """Gamma makes its sums anew, by matrix products: under autocast those would be bfloat16."""
    circuit = provnet.trace(model(), torch.rand(2, 2, 8))
    plain = circuit.evaluate(SIX, rule=rule)
    fresh = provnet.Circuit(Session(circuit.session.data))
    with SURROUNDINGS[name]():
        before = torch.is_autocast_enabled("cpu"), torch.get_default_device()
        around = fresh.evaluate(SIX, rule=rule)
        gates = fresh.gates(target=0, at=("input", 0, 0))
        value = gates.evaluate("real", rule=rule).tensor
        assert (torch.is_autocast_enabled("cpu"), torch.get_default_device()) == before
    for one, other in zip(plain, around, strict=True):
        assert torch.equal(one.inputs, other.inputs), one.semiring.name
        assert not other.inputs.requires_grad
    assert torch.equal(value, circuit.gates(target=0, at=("input", 0, 0)).evaluate("real", rule=rule).tensor)


def test_what_is_found_later_is_found_as_before():
    """Relevance that was not kept, messages and reports evaluate again, perhaps in other surroundings."""
    found = provnet.trace(model(), torch.rand(2, 2, 8)).evaluate("real", rule=provnet.rules.Gamma(0.25))
    again = provnet.Circuit(Session(found._asked.circuit)).evaluate("real", rule=provnet.rules.Gamma(0.25), at="*")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(found["1"], again["1"])
        assert found.conservation().residual() < 1e-5


def test_a_model_that_runs_under_autocast_is_traced_as_it_runs():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        circuit = provnet.trace(model(), torch.rand(2, 2, 8))
        found = circuit.evaluate(SIX)
    assert circuit.outputs[0].dtype == torch.bfloat16
    assert all(one.inputs.dtype != torch.bfloat16 for one in found)
