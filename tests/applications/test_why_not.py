"""The fewest edges that block a pixel: against all sets of edges, smallest first."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

import provnet
from provnet.applications.why_not import why_not
from provnet.semirings.annotations import Threshold
from provnet.semirings.annotations.edits import Edits
from tests.nets import perceptron, seeded

THETA = 0.3


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    x = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return provnet.trace(seeded(lambda: perceptron(3, 3, 3, 2), 4), x)


def fewest(gates: provnet.GateCircuit, passes: torch.Tensor) -> tuple[int, set[frozenset[int]]]:
    """Return the least number of edges to add for relevance, and all sets of that size: by trying every set."""
    closed = torch.nonzero(~passes).squeeze(1).tolist()
    for size in range(len(closed) + 1):
        found = set()
        for chosen in combinations(closed, size):
            opened = passes.clone()
            opened[list(chosen)] = True
            if bool(gates.evaluate("boolean", opened).tensor[0]):
                found.add(frozenset(chosen))
        if found:
            return size, found
    raise AssertionError("no set will do")


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("pixel", range(3))
@pytest.mark.guarantee("why-not names a smallest set of edges that would make the neuron relevant")
def test_the_blockers_are_a_smallest_set(circuit, pixel, batch):
    gates = circuit.gates(target=0, batch=batch, at=("input", pixel))
    size, sets = fewest(gates, gates.valuation("boolean", annotation=Threshold(THETA)))
    repairs = why_not(circuit, ("input", pixel), THETA, target=0, batch=batch, k=3)
    names = {v.name: i for i, v in enumerate(gates.variables)}
    assert len(repairs[0]) == size
    assert frozenset(names[b.variable.name] for b in repairs[0].blockers) in sets
    assert [len(r) for r in repairs] == sorted(len(r) for r in repairs)
    assert len({frozenset(b.variable.name for b in r.blockers) for r in repairs}) == len(repairs)
    assert (size == 0) == bool(circuit.evaluate("boolean", target=0, annotation=Threshold(THETA)).inputs[batch, pixel])
    edits = circuit.evaluate("tropical", target=0, annotation=Edits(THETA)).inputs
    assert int(edits[batch, pixel]) == size


def test_deficits_are_what_coefficients_lack(circuit):
    (repair,) = why_not(circuit, ("input", 1), THETA, target=0, deficit=True)
    for blocker in repair.blockers:
        assert blocker.deficit == pytest.approx(THETA - blocker.coefficient)
        assert blocker.variable.name in str(repair)
    cost = circuit.evaluate("tropical", target=0, annotation=Edits(THETA, deficit=True)).inputs[0, 1]
    assert sum(b.deficit for b in repair.blockers) == pytest.approx(float(cost))


def test_nothing_blocks_at_a_low_threshold(circuit):
    (repair,) = why_not(circuit, ("input", 1), -1e9, target=0)
    assert len(repair) == 0
    assert str(repair) == "relevant already"
    assert len(repair.path) == 3


def test_a_neuron_without_a_defined_path_cannot_be_repaired():
    model = perceptron(2, 2, 2).double()
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.zero_()
    circuit = provnet.trace(model, torch.ones(1, 2, dtype=torch.float64))
    assert why_not(circuit, ("input", 0), 0.1, target=0) == []


def test_thresholds_may_differ_by_layer(circuit):
    by_layer = {"0": -1e9, "2": -1e9}
    (repair,) = why_not(circuit, ("input", 0), Threshold(by_layer, default=1e9), target=0)
    assert [b.variable.path for b in repair.blockers] == ["4"]
