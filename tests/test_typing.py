"""What the type checker knows of the public names: `basedpyright` reads this file, a run asks the same of values."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import pytest
import torch
from torch import Tensor

import provnet
from provnet.face.valued_gates import ValuedGates


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    return provnet.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))


def test_the_package_ships_its_types():
    assert (Path(provnet.__file__).parent / "py.typed").exists()


def test_results_have_the_types_that_a_checker_sees(circuit: provnet.Circuit):
    assert isinstance(assert_type(circuit.evaluate("real"), provnet.Relevance), provnet.Relevance)
    several = circuit.evaluate(["real", provnet.semirings.Boolean()])
    assert isinstance(assert_type(several, list[provnet.Relevance]), list)
    assert isinstance(assert_type(circuit.classes, tuple[str, ...]), tuple)
    gates = assert_type(circuit.gates(target=0), provnet.GateCircuit)
    assert isinstance(gates, provnet.GateCircuit)
    assert isinstance(assert_type(gates.simplify(), provnet.GateCircuit), provnet.GateCircuit)
    valued = assert_type(gates.valued("viterbi"), ValuedGates[provnet.GateCircuit])
    assert isinstance(assert_type(valued.evaluate(), provnet.Elements), provnet.Elements)
    assert isinstance(assert_type(valued.sorted().gates, provnet.GateCircuit), provnet.GateCircuit)
    assert isinstance(assert_type(gates.valuation("real"), Tensor), Tensor)
