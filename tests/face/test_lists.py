"""Lists of semirings, annotation functions and rules run side by side, and what they share gives the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import provnet
from provnet import annotations, rules
from provnet.errors import OptionError, UnknownNameError
from provnet.torch_backend.walk.workspace import Workspace
from tests.nets import Residual, seeded

Threshold = annotations.Threshold


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    torch.manual_seed(6)
    return provnet.trace(seeded(Residual), torch.randn(2, 2, 6, 6, dtype=torch.float64))


@pytest.mark.guarantee("lists of semirings, rules and annotations give what single questions give, to the bit")
def test_a_list_is_as_single_questions(circuit: provnet.Circuit):
    semirings: list[Any] = ["real", "boolean", provnet.semirings.Viterbi(), "counting"]
    thetas: list[Any] = [None, Threshold(0.01), "max-normalised", Threshold(0.2)]
    chosen: list[Any] = ["zero", rules.Gamma(0.5), "epsilon", {"head": "z-plus"}]
    for given in (
        {"semiring": semirings, "annotation": thetas, "rule": chosen},
        {"semiring": semirings, "rule": chosen},
        {"semiring": tuple(semirings), "rule": "gamma"},
        {"semiring": "real", "rule": chosen},
        {"semiring": "counting", "annotation": [Threshold(0.1), Threshold(0.2)]},
        {"semiring": "boolean", "annotation": {"boolean": Threshold(0.1)}, "rule": chosen},
        {"semiring": ["boolean", "real"], "annotation": {"boolean": Threshold(0.1)}},
        {"semiring": "viterbi", "annotation": [None]},
    ):
        together: Any = circuit.evaluate(target=provnet.Targets(0, 2), **given)  # type: ignore[arg-type]
        count = next(len(v) for v in given.values() if isinstance(v, list | tuple))
        assert len(together) == count
        for n, found in enumerate(together):
            one = {k: v[n] if isinstance(v, list | tuple) else v for k, v in given.items()}
            if one["semiring"] == "real" and isinstance(one.get("annotation"), dict):
                del one["annotation"]  # a mapping names what is asked for
            wanted: Any = circuit.evaluate(target=provnet.Targets(0, 2), **one)  # type: ignore[arg-type]
            assert torch.equal(found.inputs, wanted.inputs)
            assert torch.equal(found["norm"], wanted["norm"])


def test_no_list_is_no_list(circuit: provnet.Circuit):
    assert isinstance(circuit.evaluate("boolean", annotation={"boolean": Threshold(0.1)}), provnet.Relevance)
    assert isinstance(circuit.evaluate("real", rule={"head": "gamma"}), provnet.Relevance)
    assert circuit.evaluate([]) == []
    assert len(circuit.evaluate("real", rule=["zero"])) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"semiring": ["real", "boolean"], "rule": ["zero"]},
        {"semiring": ["real", "boolean"], "annotation": [None, None, None]},
        {"rule": ["zero", "gamma"], "annotation": ["identity"]},
        {"rule": [], "annotation": ["identity"]},
    ],
    ids=str,
)
def test_lists_of_different_lengths_are_refused(circuit: provnet.Circuit, given: dict[str, Any]):
    with pytest.raises(OptionError, match=r"of one length: \w+ lists \d, \w+ lists \d"):
        circuit.evaluate(**given)


def test_each_entry_is_checked(circuit: provnet.Circuit):
    with pytest.raises(UnknownNameError, match="'nope'"):
        circuit.evaluate("real", rule=["zero", "nope"])
    with pytest.raises(UnknownNameError, match="'hed' fits no block"):
        circuit.evaluate("boolean", annotation=[Threshold(0.1), Threshold({"hed": 0.2})])
    with pytest.raises(OptionError, match="3 is no annotation function"):
        circuit.evaluate("boolean", annotation=[Threshold(0.1), 3])  # type: ignore[list-item]


def test_one_walk_answers_all(circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch):
    """Denominators are looked up once for each rule at each block, and made no more often than for one question."""
    asked: list[tuple[int, Any]] = []
    prepared = Workspace.prepared

    def spy(workspace: Workspace, index: int, rule: Any) -> Any:
        asked.append((index, rule))
        return prepared(workspace, index, rule)

    monkeypatch.setattr(Workspace, "prepared", spy)
    thetas = [Threshold(t / 10) for t in range(5)]
    circuit.evaluate("boolean", provnet.Targets(0, 1, 2), annotation=thetas)
    assert len(asked) == len(set(asked))
    asked.clear()
    circuit.evaluate("real", provnet.Targets(0, 1, 2), rule=["gamma", "gamma", "epsilon"])
    assert len(asked) == len(set(asked))


@pytest.mark.guarantee("Crossed lists give every combination, and each result says which it answers")
def test_lists_may_be_crossed(circuit: provnet.Circuit):
    thetas = [provnet.annotations.Threshold(0.1), provnet.annotations.Threshold(0.2)]
    found = circuit.evaluate(["boolean", "counting"], rule=["zero", "epsilon"], annotation=thetas, product=True)
    asked = [(r.semiring.name, r.question.rule.name, r.question.annotation) for r in found]
    assert asked == [(s, r, t) for s in ("boolean", "counting") for r in ("zero", "epsilon") for t in thetas]
    for result in found:
        one = circuit.evaluate(result.semiring, rule=result.question.rule, annotation=result.question.annotation)
        assert torch.equal(one.inputs, result.inputs)
    assert len(circuit.evaluate("boolean", rule=["zero", "epsilon"], product=True)) == 2
    assert isinstance(circuit.evaluate("boolean", product=True), provnet.Relevance)
    with pytest.raises(OptionError, match="product="):
        circuit.evaluate("boolean", product=2)  # pyright: ignore[reportArgumentType, reportCallIssue]
