"""Circuits made of circuits, differences of executions, equality: at the face."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import provnet
from provnet.applications.circuits import add, difference, multiply, union
from provnet.applications.equivalence import equivalent, semantic_hash, structural_hash
from provnet.errors import CircuitError, OptionError, UnknownNameError, UnsupportedOperationError
from tests.nets import Branching, perceptron, seeded


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    x = torch.rand(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return provnet.trace(seeded(lambda: perceptron(3, 4, 3)), x)


def test_sums_and_products_of_two_targets(circuit):
    a, b = circuit.gates(target=0), circuit.gates(target=1)
    names = {v.name for g in (a, b) for v in g.variables}
    values = dict(zip(sorted(names), torch.rand(len(names), dtype=torch.float64).tolist(), strict=True))
    mine = [g.evaluate("real", {v.name: values[v.name] for v in g.variables}).tensor for g in (a, b)]
    assert torch.allclose(add(a, b).evaluate("real", values).tensor, mine[0] + mine[1])
    assert torch.allclose(multiply(a, b).evaluate("real", values).tensor, mine[0] * mine[1])
    with pytest.raises(CircuitError, match="both circuits"):
        union(a, b)
    parts = union(a.cone("input[0]"), a.cone("input[2]", "input[1]"))
    assert [str(root) for root in parts.roots] == ["input[0]", "input[2]", "input[1]"]
    assert equivalent(parts.cone(*map(str, a.roots)), a)


def test_equality_and_hashes(circuit):
    a, b = circuit.gates(target=0), circuit.gates(target=1)
    assert equivalent(a, circuit.gates(target=0))
    assert equivalent(a, a.simplify())
    assert not equivalent(a, b)
    assert structural_hash(a) == structural_hash(circuit.gates(target=0)) != structural_hash(b)
    assert semantic_hash(a) == semantic_hash(a.simplify()) != semantic_hash(b)
    assert list(semantic_hash(a)) == ["input[0]", "input[1]", "input[2]"]
    with pytest.raises(UnsupportedOperationError, match="make gates first"):
        equivalent(circuit, circuit)  # type: ignore[arg-type]


def test_cones_keep_the_numbers_of_variables(circuit):
    gates = circuit.gates(target=0)
    cone = gates.cone("input[1]")
    assert len(cone) < len(gates)
    assert list(cone.variables) == list(gates.variables)
    assert float(cone.evaluate()["input[1]"]) == float(gates.evaluate()["input[1]"])
    with pytest.raises(UnknownNameError, match=r"input\[7\]"):
        gates.cone("input[7]")
    with pytest.raises(OptionError, match="no root"):
        gates.marginals(root=0)


def test_marginals_and_best_paths_at_the_face(circuit):
    gates = circuit.gates(target=0)
    marginals = gates.marginals("viterbi", root="input[1]")
    best = gates.best_paths("input[1]", k=3)
    assert best[0].value == pytest.approx(float(gates.evaluate("viterbi")["input[1]"]))
    for path in best[:1]:
        for variable in path.variables:
            assert float(marginals[variable]) == float(marginals[variable.name]) == pytest.approx(path.value)
    assert max(marginals.values()) == pytest.approx(best[0].value)
    assert list(marginals) == [v.name for v in gates.variables]
    assert len(marginals) == len(gates.variables)
    ones = dict.fromkeys(marginals, 1)
    assert gates.marginals("counting", ones, root="input[1]").tensor.sum() == 2 * 4


def test_executions_that_pool_elsewhere_differ():
    model = seeded(lambda: nn.Sequential(nn.MaxPool1d(2), nn.Flatten(), nn.Linear(2, 1)))
    one, two = torch.tensor([[[3.0, 1.0, 5.0, 2.0]]]).double(), torch.tensor([[[3.0, 4.0, 5.0, 2.0]]]).double()
    found = difference(*(provnet.trace(model, x).gates(target=0) for x in (one, two)))
    assert [v.name for v in found.appeared] == ["0[0,0,0<-0,0,1]"]
    assert [v.name for v in found.disappeared] == ["0[0,0,0<-0,0,0]"]
    assert found.shared == 3
    assert set(found.changed_roots) == {"input[0, 0]", "input[0, 1]"}
    assert found
    assert str(found).startswith("1 variables appeared, 1 disappeared, 3")


def test_executions_that_branch_elsewhere_differ():
    model = seeded(Branching)
    x = torch.linspace(0.1, 0.9, 4, dtype=torch.float64)[None]
    left, right = (provnet.trace(model, y).gates(target=0) for y in (x, -x))
    found = difference(left, right)
    assert {v.path for v in found.appeared} == {"right"}
    assert {v.path for v in found.disappeared} == {"left"}
    assert not difference(left, provnet.trace(model, 2 * x).gates(target=0))
