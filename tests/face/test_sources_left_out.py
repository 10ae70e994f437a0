"""`sources=False`: a walk ends at the deepest tensor that is asked for, and says the same as one that goes on."""

from __future__ import annotations

import pytest
import torch

import provnet
from provnet.errors import OptionError
from tests.nets import Residual, perceptron, seeded

SEMIRINGS = ["real", "boolean", "counting", "viterbi"]


@pytest.mark.guarantee("A walk that ends early gives every tensor the same relevance as one that goes on")
def test_a_walk_that_ends_early_gives_the_same_relevance() -> None:
    circuit = provnet.trace(seeded(lambda: perceptron(6, 5, 4, 3)), torch.rand(4, 6, dtype=torch.float64))
    for name in circuit.keys():
        early = circuit.evaluate(SEMIRINGS, at=name, sources=False)
        for mine, theirs in zip(early, circuit.evaluate(SEMIRINGS, at="*"), strict=True):
            assert torch.equal(mine[name], theirs[name])


def test_blocks_below_are_not_evaluated_until_they_are_asked_for() -> None:
    circuit = provnet.trace(seeded(lambda: perceptron(6, 5, 4, 3)), torch.rand(4, 6, dtype=torch.float64))
    found, whole = circuit.evaluate("real", at="2", sources=False), circuit.evaluate("real")
    assert "0" not in {step.path for step in found.plan}
    assert "4" in {step.path for step in found.plan}
    assert torch.equal(found.inputs, whole.inputs)
    for totals in ("bias", "sinks"):
        early = getattr(circuit.evaluate("real", at="2", sources=False), totals)
        assert early.keys() == getattr(whole, totals).keys()
        assert all(torch.equal(early[path], held) for path, held in getattr(whole, totals).items())
    assert str(circuit.evaluate("real", at="2", sources=False).conservation()) == str(whole.conservation())


def test_the_deepest_of_several_tensors_decides_also_past_branches() -> None:
    model = seeded(Residual)
    circuit = provnet.trace(model, torch.rand(2, 2, 6, 6, dtype=torch.float64))
    names = [name for name in circuit.keys() if name != "input"]
    for name in names:
        early, whole = circuit.evaluate("real", at=[name, names[-1]], sources=False), circuit.evaluate("real", at="*")
        assert torch.equal(early[name], whole[name])


def test_by_example_puts_the_examples_first() -> None:
    circuit = provnet.trace(lambda x: x.transpose(0, 1).relu(), torch.rand(3, 4))
    found = circuit.evaluate("real", target=torch.ones(4, 3))
    name = next(key for key in circuit.keys() if key.startswith("transpose"))
    assert torch.equal(found.by_example(name), found[name].transpose(0, 1))
    assert torch.equal(found.by_example("input"), found.inputs)


@pytest.mark.parametrize("options", [{"sources": False}, {"sources": 0, "at": "0"}])
def test_nothing_to_keep_is_refused(options: dict) -> None:
    circuit = provnet.trace(perceptron(6, 5, 3), torch.rand(4, 6))
    with pytest.raises(OptionError, match="sources="):
        circuit.evaluate("real", **options)
