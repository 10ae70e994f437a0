"""pickle and copy: everything public goes through them and back, or says what to do instead."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest
import torch

import provnet
from provnet import rules, semirings
from provnet.errors import UnsupportedOperationError
from provnet.rules import lrp
from provnet.symbolic.polynomial import Polynomial
from tests.nets import perceptron, seeded

WAYS = [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, copy.copy]


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    torch.manual_seed(0)
    return provnet.trace(seeded(lambda: perceptron(3, 4, 2)), torch.rand(2, 3, dtype=torch.float64))


@pytest.mark.guarantee("a pickled or copied circuit gives the same answers to the bit")
@pytest.mark.parametrize("way", WAYS)
def test_circuits(circuit, way):
    circuit.evaluate("real", target=0)  # what evaluations share is no part of the copy
    made = way(circuit)
    for semiring in ("real", "counting", "viterbi"):
        assert torch.equal(made.evaluate(semiring, target=1).inputs, circuit.evaluate(semiring, target=1).inputs)


@pytest.mark.parametrize("way", WAYS)
def test_gates_formulas_and_polynomials(circuit, way):
    gates = circuit.gates(target=0, at=("input", 1))
    assert way(gates).evaluate("real") == gates.evaluate("real")
    formula, polynomial = gates.formula(), gates.polynomial()
    assert way(formula) == formula
    assert hash(way(polynomial)) == hash(polynomial)
    assert way(polynomial) == polynomial


def test_a_polynomial_from_another_process_is_found_by_its_hash():
    """Texts are hashed otherwise in every process, so a hash that came along would be wrong."""
    program = (
        "import pickle, sys; from provnet.symbolic.polynomial import Polynomial; "
        "p = Polynomial.variable('x'); hash(p); sys.stdout.buffer.write(pickle.dumps(p))"
    )
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert pickle.loads(made) in {Polynomial.variable("x")}


@pytest.mark.guarantee("a Relevance is not pickled or copied, and the error names what to do")
@pytest.mark.parametrize("way", WAYS)
def test_relevance_says_what_to_do(circuit, way, tmp_path):
    relevance = circuit.evaluate("real", target=0)
    with pytest.raises(UnsupportedOperationError, match=r"r\.inputs.*provnet\.save.*'real'"):
        way(relevance)
    provnet.save(circuit, tmp_path / "net")  # the advice works
    loaded = provnet.load(tmp_path / "net")
    assert isinstance(loaded, provnet.Circuit)
    again = loaded.evaluate("real", target=0)
    assert torch.equal(again.inputs, relevance.inputs)
    assert torch.equal(pickle.loads(pickle.dumps(relevance.inputs)), relevance.inputs)


def test_a_differentiable_circuit_says_what_to_do():
    model = seeded(lambda: perceptron(3, 4, 2))
    circuit = provnet.trace(model, torch.rand(2, 3, dtype=torch.float64), differentiable=True)
    with pytest.raises(UnsupportedOperationError, match=r"trace again.*provnet\.save"):
        pickle.dumps(circuit)


@pytest.mark.parametrize("name", semirings.names())
def test_semirings(name):
    semiring = semirings.get(name)
    made = pickle.loads(pickle.dumps(semiring))
    assert (type(made), made.name, repr(made)) == (type(semiring), semiring.name, repr(semiring))


@pytest.mark.parametrize("name", rules.names())
def test_rules(circuit, name):
    rule = lrp.get(name)
    made = pickle.loads(pickle.dumps(rule))
    assert made == rule or repr(made) == repr(rule)
    assert lrp.to_json(made) == lrp.to_json(rule)
