"""What evaluating gates gives, as a reader sees it."""

from __future__ import annotations

import torch

import provnet


def test_elements_print_as_what_they_are():
    circuit = provnet.trace(torch.nn.Linear(12, 1), torch.ones(1, 12))
    gates = circuit.gates(target=0)
    shown = repr(gates.evaluate("counting", torch.ones(12, dtype=torch.int64)))
    assert shown.startswith("{input[0]: 1, input[1]: 1")
    assert shown.endswith("input[9]: 1, … 2 more}")
