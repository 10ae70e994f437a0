"""Relevance that goes nowhere is reported as a sink, on every route, in the semirings whose Θ uses p too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import provnet

SEMIRINGS = ["real", "boolean", "viterbi", "tropical", "bottleneck", "max-times", "fuzzy"]


def dead() -> provnet.Circuit:
    """Return the circuit of a network whose hidden neurons are all 0, and whose output has no bias to explain it."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)).double()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)  # type: ignore[union-attr,operator]
    return provnet.trace(model.eval(), torch.rand(2, 3, dtype=torch.float64))


@pytest.mark.guarantee("relevance of a neuron without any contribution is a sink, in every semiring")
@pytest.mark.parametrize("route", ["auto", "reference"])
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_a_neuron_without_contributions_loses_all_and_says_so(semiring: str, route: str):
    found = dead().evaluate(semiring, target=0, route=route)
    algebra = found.semiring
    one = algebra.full((2,), algebra.one, found.inputs)
    assert torch.equal(found.sinks["2"], one)
    assert found.conservation().residual() == 0
    assert torch.equal(found.conservation().named["undefined"], one)


class Padded(nn.Module):
    """Windows that lie in the padding whole: no neuron feeds them."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(F.pad(x, (2, 2)), 2).flatten(1)


@pytest.mark.parametrize("route", ["auto", "reference"])
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_a_window_of_padding_has_no_winner(semiring: str, route: str):
    circuit = provnet.trace(Padded(), torch.rand(2, 1, 4, dtype=torch.float64))
    found = circuit.evaluate(semiring, target=0, route=route, at="*")
    zero, one = (found.semiring.full((2,), end, found.inputs) for end in (found.semiring.zero, found.semiring.one))
    padded = next(name for name in circuit.keys() if "pad" in name and not name.endswith(":in"))
    assert torch.equal(found[padded][:, 0, 0], zero)  # padding is no neuron: no message
    assert torch.equal(found.inputs, zero[:, None, None].expand(2, 1, 4))
    assert found.conservation().residual() == 0
    named = found.conservation().named
    assert torch.equal(named["undefined" if "undefined" in named else "rule"], one)
