"""What is typed is what is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import provnet
from provnet.applications.command_questions import (
    describe,
    numbers,
    open_circuit,
    parse_neurons,
    parse_target,
    theta_of,
)
from provnet.errors import InputError, OptionError
from provnet.semirings.annotations import NegLog, Threshold
from tests.nets import perceptron, seeded


def test_targets():
    assert parse_target("predicted") == "predicted"
    assert parse_target("3") == 3
    assert parse_target("1,0,2") == (1, 0, 2)
    assert parse_target(" fc[3] ") == "fc[3]"  # a neuron or a class's name: the circuit knows which


def test_neurons():
    assert parse_neurons([]) is None
    assert parse_neurons(["fc1[0]", " conv[1, 2,3]"]) == ["fc1[0]", "conv[1, 2,3]"]


def test_thresholds():
    assert theta_of(None, None) is None
    assert isinstance(theta_of(None, "neg-log"), NegLog)
    by_layer = theta_of("conv*=0.1, fc=0.2", None)
    assert theta_of("0.1", "threshold").theta == 0.1
    assert isinstance(by_layer, Threshold)
    assert (by_layer.at("conv1").theta, by_layer.at("fc").theta) == (0.1, 0.2)
    with pytest.raises(OptionError, match="leave one out"):
        theta_of("0.1", "identity")
    with pytest.raises(OptionError, match="'a' is no number"):
        theta_of("a", None)
    assert numbers("1,2.5") == (1, 2.5)


def test_a_summary_names_the_strongest():
    circuit = provnet.trace(seeded(lambda: perceptron(3, 2), dtype=torch.float32), torch.tensor([[1.0, 0.0, 2.0]]))
    relevance = circuit.evaluate("tropical", target=0)
    text = describe(relevance)
    cheapest = int(relevance.inputs[0].argmin())
    assert f"strongest: [{cheapest}]" in text
    assert "2 of 3 inputs relevant" in text, text
    assert describe(circuit.evaluate(provnet.semirings.Counting("exact"), target=0)).startswith("Relevance(")


def test_what_is_no_circuit(tmp_path: Path):
    with pytest.raises(InputError, match="no file nowhere"):
        open_circuit("nowhere", None)
    with pytest.raises(InputError, match="needs an input"):
        open_circuit("torch.nn:ReLU", None)
    np.save(tmp_path / "x.npy", np.ones((1, 2)))
    circuit = open_circuit("torch.nn:Flatten", tmp_path / "x.npy")
    provnet.save(circuit, tmp_path / "c.provnet")
    assert open_circuit(str(tmp_path / "c.provnet"), None).batch == 1
    with pytest.raises(InputError, match="leave the input"):
        open_circuit(str(tmp_path / "c.provnet"), tmp_path / "x.npy")
