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
    """Windows that lie among zeros which were written out: a zero wins there, which no neuron feeds."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(F.pad(x, (2, 2)), 2).flatten(1)


@pytest.mark.guarantee("what arrives at a constant that was padded, joined or filled in is a sink, in every semiring")
@pytest.mark.parametrize("route", ["auto", "reference"])
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_a_zero_that_wins_keeps_what_it_gets(semiring: str, route: str):
    circuit = provnet.trace(Padded(), torch.rand(2, 1, 4, dtype=torch.float64))
    found = circuit.evaluate(semiring, target=0, route=route, at="*")
    zero = found.semiring.full((2,), found.semiring.zero, found.inputs)
    padded = next(name for name in circuit.keys() if "pad" in name and not name.endswith(":in"))
    winner = found[padded][:, 0, 0]  # the first zero of the window
    assert not torch.equal(winner, zero)
    assert torch.equal(found.inputs, zero[:, None, None].expand(2, 1, 4))
    if semiring != "bottleneck":  # its one is infinite, and no share is
        assert found.conservation().residual() == 0
    assert torch.equal(found.conservation().named["constant"], winner)
    assert torch.equal(found.sinks[padded], winner)
