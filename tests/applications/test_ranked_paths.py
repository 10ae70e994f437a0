"""The best paths of circuits too large for gates: here of small ones, whose paths can all be listed."""

from __future__ import annotations

import pytest
import torch

import provnet
from provnet.applications.ranked_paths import best_paths
from provnet.errors import LimitError, OptionError, UnsupportedOperationError
from tests.nets import perceptron
from tests.nonlinear_cases import CASES


@pytest.fixture(scope="module")
def attention() -> provnet.Circuit:
    case = CASES["attention"]
    return provnet.trace(case.make().eval(), case.input(2))


@pytest.mark.guarantee("the best paths of a large circuit are those that its explicit gates list")
@pytest.mark.parametrize("k", [1, 4, 25])
@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "bottleneck"])
def test_they_are_those_of_the_gates(attention: provnet.Circuit, semiring: str, k: int) -> None:
    """The slow twin: the k best of every starting neuron by the whole circuit's gates, sorted."""
    whole = attention.gates(target=0, batch=1)
    wanted = [path.value for root in whole.roots for path in whole.best_paths(root, k, semiring, rule="zero")]
    wanted.sort(reverse=semiring != "tropical")
    found = best_paths(attention, 0, k, semiring, batch=1)
    assert [path.value for path in found.paths] == pytest.approx(wanted[:k], rel=1e-9)
    assert len({path.variables for path in found.paths}) == len(found)
    assert k > 4 or len(found.gates.store) < len(whole.store)
    for start, path in zip(found.starts, found.paths, strict=True):
        assert path.variables[0].source is None or path.variables[0].source.path == start.path


def test_paths_from_a_tensor_within() -> None:
    """Fewer starting neurons than paths: the floor falls until there are enough, or until all are listed."""
    torch.manual_seed(0)
    circuit = provnet.trace(perceptron(5, 4, 3, 2).double(), torch.rand(1, 5).double())
    whole = circuit.gates(target=1, at="1")
    wanted = sorted((p.value for root in whole.roots for p in whole.best_paths(root, 99, rule="zero")), reverse=True)
    found = best_paths(circuit, 1, 99, at="1")
    assert [path.value for path in found.paths] == pytest.approx(wanted)
    few = best_paths(circuit, 1, len(wanted) - 1, at="1")
    assert [path.value for path in few.paths] == pytest.approx(wanted[:-1])


def test_sentences_name_what_changes(attention: provnet.Circuit) -> None:
    found = best_paths(attention, 0, 3)
    (first, *_) = found.sentences({"input": lambda token, feature: f"token {token}"})
    assert first.startswith("token ")
    assert " carries " in first and "in viterbi" in first
    assert "addmm_1[" in first and "norm[" not in first and "add_1[" not in first


def test_what_has_no_best_paths_is_refused(attention: provnet.Circuit) -> None:
    with pytest.raises(UnsupportedOperationError, match="'real' is none"):
        best_paths(attention, 0, semiring="real")
    with pytest.raises(OptionError, match="k=0"):
        best_paths(attention, 0, k=0)
    with pytest.raises(LimitError, match="above limit=3"):
        best_paths(attention, 0, limit=3)
    two = provnet.trace(lambda x, y: x + y, torch.rand(1, 2), torch.rand(1, 2))
    with pytest.raises(OptionError, match="as at="):
        best_paths(two, 0)
