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


def test_gates_of_a_neuron_that_no_path_reaches_are_zero():
    """The target is padding after a sum, whose inputs are padding in part: of the sum no output is asked for."""

    def model(x: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(x, (0, 2))
        return torch.nn.functional.pad(torch.sub(padded, padded, alpha=2), (0, 1))

    circuit = provnet.trace(model, torch.ones(1, 3, dtype=torch.float64))
    for semiring in ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck"):
        zero = provnet.semirings.get(semiring).zero
        assert circuit.gates(target=5).evaluate(semiring).tensor.tolist() == [zero] * 3
