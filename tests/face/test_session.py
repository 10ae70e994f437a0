"""What circuits and gates share: the session behind them, and gates under one valuation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import provnet
from provnet.errors import OptionError, StaleCircuitError

SEMIRINGS = ["real", "viterbi", "tropical", "boolean", "counting"]


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    return provnet.trace(model, torch.randn(2, 3, dtype=torch.float64))


@pytest.fixture(scope="module")
def gates(circuit: provnet.Circuit) -> provnet.GateCircuit:
    return circuit.gates(target=1, at=("input", 0))


@pytest.mark.guarantee("a Circuit shows no plain data, no workspace and no graph: they are its session's")
def test_a_circuit_shows_no_data(circuit: provnet.Circuit):
    shown = set(dir(circuit))
    assert not shown & {"data", "live", "workspace", "recording", "floating", "check_fresh"}
    assert "session" in shown


def test_earlier_names_work_with_a_warning(circuit: provnet.Circuit):
    with pytest.warns(DeprecationWarning, match=r"circuit\.data is circuit\.session\.data"):
        assert getattr(circuit, "data") is circuit.session.data  # noqa: B009  # the type checker does not know it
    with pytest.warns(DeprecationWarning, match=r"circuit\.live is circuit\.session\.with_graph"):
        assert getattr(circuit, "live") is None  # noqa: B009
    with pytest.raises(AttributeError, match="no attribute 'date'"):
        getattr(circuit, "date")  # noqa: B009


def test_gates_are_as_fresh_as_the_circuit_that_they_come_from():
    model = nn.Linear(2, 1)
    gates = provnet.trace(model, torch.ones(1, 2)).gates(target=0)
    with torch.no_grad():
        model.weight.add_(1)
    with pytest.raises(StaleCircuitError):
        gates.valued("real")


@pytest.mark.guarantee("gates.valued takes the valuation once, and answers what the calls with a valuation each answer")
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_one_valuation_gives_the_answers_of_calls_that_take_it_each(gates: provnet.GateCircuit, semiring: str):
    valued = gates.valued(semiring, rule="epsilon")
    assert torch.equal(valued.elements, gates.valuation(semiring, rule="epsilon"))
    assert torch.equal(valued.evaluate().tensor, gates.evaluate(semiring, rule="epsilon").tensor)
    assert torch.equal(valued.marginals().tensor, gates.marginals(semiring, rule="epsilon").tensor)
    assert dict(valued.values) == dict(gates.values(semiring, rule="epsilon"))
    if semiring == "viterbi":
        assert valued.best_paths(k=3) == gates.best_paths(k=3, rule="epsilon")
        assert valued.sentences() == gates.sentences(rule="epsilon")
        kept = valued.prune(keep=2)
        assert str(kept.formula()) == str(gates.prune(keep=2, rule="epsilon").formula(values=semiring, rule="epsilon"))
        assert kept.gates.pruned is not None and kept.gates.pruned.edges < len(gates.variables)
    if semiring == "real":
        assert str(valued.sorted().gates.formula()) == str(gates.formula(sort="real", rule="epsilon"))
        assert valued.draw().source == gates.draw("real", rule="epsilon").source


def test_a_valuation_may_be_exact_and_of_ones_own(gates: provnet.GateCircuit):
    big = {variable.name: 10**12 for variable in gates.variables}
    (found,) = gates.valued("counting", big, exact=True).evaluate().values()
    assert found == 4 * 10**24
    with pytest.raises(OptionError, match="does not count"):
        gates.valued("real", exact=True)
    assert "in viterbi" in repr(gates.valued("viterbi"))
