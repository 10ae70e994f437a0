"""What is explained, and what is refused as a target."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import provnet
from provnet.errors import OptionError, TargetError, UnknownNameError


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    return provnet.trace(net, torch.randn(2, 4, dtype=torch.float64))


@pytest.fixture(scope="module")
def tokens() -> provnet.Circuit:
    """An output with two axes an example."""
    torch.manual_seed(0)
    return provnet.trace(nn.Linear(4, 3).double(), torch.randn(2, 5, 4, dtype=torch.float64))


def test_predicted_is_the_first_largest(circuit: provnet.Circuit):
    classes = circuit.outputs[0].argmax(1).tolist()
    predicted = circuit.evaluate("real").inputs
    assert torch.equal(predicted, circuit.evaluate("real", target=classes).inputs)
    tied = provnet.trace(nn.Flatten(), torch.ones(1, 3)).evaluate("boolean").inputs
    assert tied.tolist() == [[True, False, False]]


def test_ways_to_say_the_same(circuit: provnet.Circuit):
    wanted = circuit.evaluate("viterbi", target=2).inputs
    for same in (-1, (2,), [2, 2], torch.tensor([2, 2]), [(2,), 2]):
        assert torch.equal(circuit.evaluate("viterbi", target=same).inputs, wanted)


def test_several_targets_give_several_results(circuit: provnet.Circuit):
    found = circuit.evaluate("real", target=provnet.Targets(0, [1, 2]))
    assert found.inputs.shape == (2, 2, 4)
    assert torch.equal(found.inputs[0], circuit.evaluate("real", target=0).inputs)
    assert torch.equal(found.inputs[1], circuit.evaluate("real", target=[1, 2]).inputs)
    assert found.bias["0"].shape == (2, 2)
    assert found.messages("2").shape == (2, 2, 3, 7)
    assert found.conservation().holds(1e-9)


def test_a_weighting_is_the_sum_of_its_targets(circuit: provnet.Circuit):
    weights = torch.tensor([[1.0, 0.0, -2.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    found = circuit.evaluate("real", target=weights).inputs
    each = circuit.evaluate("real", target=provnet.Targets(0, 1, 2)).inputs
    torch.testing.assert_close(found, torch.einsum("bt,tbi->bi", weights, each))


def test_starts(circuit: provnet.Circuit):
    one = circuit.evaluate("real", target=1).inputs
    logits = circuit.outputs[0][:, 1]
    torch.testing.assert_close(circuit.evaluate("real", target=1, start="logit").inputs, one * logits[:, None])
    torch.testing.assert_close(circuit.evaluate("real", target=1, start=0.5).inputs, one / 2)
    twice = circuit.evaluate("real", target=1, start=torch.tensor([1.0, 2.0])).inputs
    torch.testing.assert_close(twice, one * torch.tensor([[1.0], [2.0]]))
    with pytest.raises(OptionError, match="viterbi"):
        circuit.evaluate("viterbi", start=7.0)
    with pytest.raises(OptionError, match="whole numbers"):
        circuit.evaluate("counting", start=0.5)


def test_full_indices_where_there_are_several_axes(tokens: provnet.Circuit):
    found = tokens.evaluate("real", target=(3, 1)).inputs
    assert found.shape == (2, 5, 4)
    assert (found[:, [0, 1, 2, 4]] == 0).all()
    assert (found[:, 3] != 0).any()


@pytest.mark.guarantee("a target out of range, of another length than the batch, or ambiguous is refused")
@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "out of range"),
        (-4, "out of range"),
        ([0, 1, 2], "3 classes for 2 examples"),
        ("largest", "predicted"),
        (1.5, "none of"),
        (True, "none of"),
        ((0, 1), "2 indices"),
        (torch.tensor([0.5, 1.0]), "dtype torch.float32"),
        (torch.full((2, 3), torch.nan), "NaN"),
        (None, "none of"),
    ],
)
def test_refusals(circuit: provnet.Circuit, target: object, message: str):
    with pytest.raises(TargetError, match=message):
        circuit.evaluate("real", target=target)


def test_refusals_of_several_axes(tokens: provnet.Circuit):
    for target in ("predicted", 1):
        with pytest.raises(TargetError, match="indices"):
            tokens.evaluate("real", target=target)
    with pytest.raises(TargetError, match="Targets"):
        provnet.Targets()


def test_gates_explain_one_neuron(circuit: provnet.Circuit):
    with pytest.raises(TargetError, match="one neuron"):
        circuit.gates(target=provnet.Targets(1, 2))
    with pytest.raises(TargetError, match="batch=2"):
        circuit.gates(target=1, batch=2)
    with pytest.raises(UnknownNameError, match="no neuron"):
        circuit.gates(target=1, at=("0", 9))


@pytest.mark.guarantee("exact counts start at a weighting of whole numbers, and are as large as they are")
def test_exact_counts_from_a_weighting():
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4, bias=False) for _ in range(3))).double().eval()
    circuit = provnet.trace(model, torch.ones(2, 4, dtype=torch.float64))
    every = provnet.annotations.Threshold(-1e9)
    for scale in (3, 2**40):
        weighting = torch.tensor([[1, 0, 2, 0], [0, 5, 0, 0]]) * scale
        found = circuit.evaluate("counting", weighting, annotation=every, exact=True).inputs
        assert found.tolist() == [[16 * 3 * scale] * 4, [16 * 5 * scale] * 4]
    with pytest.raises(provnet.ProvnetError, match="whole"):
        circuit.evaluate("counting", torch.full((2, 4), 0.5), exact=True)
