"""What every op rule has to keep, checked on one function of one tensor, in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import provnet
from provnet import Circuit
from tests.rules.one_op import agrees


def keeps_its_promises(function: Callable[[Tensor], Tensor], x: Tensor) -> Circuit:
    """Trace `function`, check it, and return its circuit.

    Each block computes what the op recorded, the gradient is autograd's, relevance and sinks add up to one, and gates
    give what blocks give, in several semirings. Neuron 0 of the function's flattened result is explained.
    """

    def flat(x: Tensor) -> Tensor:
        return function(x).flatten(1)

    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(flat(leaf)[:, 0].sum(), leaf)
    circuit = provnet.trace(flat, x)
    agrees(circuit.session.data, 1e-10)
    for route in ("auto", "reference"):
        found = circuit.evaluate("real", 0, "gradient", route=route).inputs
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    assert circuit.evaluate("real", 0).conservation().holds(1e-9)
    gates = circuit.gates(0, batch=0, units=True)
    for semiring in ("real", "viterbi", "boolean", "counting"):
        blocks = circuit.evaluate(semiring, 0).inputs[0].reshape(-1)
        listed = torch.stack(list(gates.evaluate(semiring, gates.valuation(semiring)).values()))
        torch.testing.assert_close(listed.double(), blocks.double(), rtol=1e-9, atol=1e-12)
    return circuit
