"""Which entries of the model's tensors a block's weights are: for grain "parameter", and for what is watched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import provnet
from provnet.errors import StaleCircuitError

W = torch.arange(1.0, 37.0, dtype=torch.float64).reshape(6, 6)
X = torch.ones(1, 6, dtype=torch.float64)


class Tied(nn.Module):
    """Two layers with one weight and two biases."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def layer(x: Tensor) -> Tensor:
    return F.linear(F.linear(x, W), W)


MODELS: dict[str, Callable[[Tensor], Tensor]] = {
    "a constant": layer,
    "with a bias once": lambda x: F.linear(F.linear(x, W, torch.ones(6, dtype=x.dtype)), W),
    "transposed": lambda x: x @ W @ W.t(),
    "a parameter with two biases": Tied().double().eval(),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_weight_is_one_variable_wherever_it_is_used(name: str):
    """36 weights, and the second layer has no other. A path from 2 by j to 2 uses w_j2 and w_2j, which are one weight
    where j is 2; transposed it uses w_2j twice whatever j is."""
    gates = provnet.trace(MODELS[name], X).gates(target=2, grain="parameter")
    assert len(gates.variables) == 36
    squares = [v for v in gates.variables if (((str(v), 2),)) in gates.polynomial("input[2]").terms]
    assert len(squares) == (6 if name == "transposed" else 1)


def test_transposed_weights_meet_in_the_right_places():
    """R_i of target t through W then its transpose: sum over j of w_ij * w_tj."""
    gates = provnet.trace(MODELS["transposed"], X).gates(target=2, at=("input", 4), grain="parameter")
    values = {str(v): float(W.flatten()[int(str(v).partition("[")[2].rstrip("]"))]) for v in gates.variables}
    assert gates.evaluate("real", values).tensor.item() == float(W[4] @ W[2])


def test_a_part_of_a_weight_is_that_part():
    """Columns 0, 1 and 1, 2 of one weight have one column in common."""
    gates = provnet.trace(lambda x: F.linear(F.linear(x[:, :2], W[:2, :2]), W[:, 1:3]), X).gates(
        target=0, grain="parameter"
    )
    assert len(gates.variables) == 5  # w00 w01 w10 w11, and w01 w02


@pytest.mark.guarantee("every outside tensor that an op reads is watched, not only its first one")
@pytest.mark.parametrize("which", [0, 1])
def test_each_of_an_ops_constants_is_watched(which: int):
    constants = [torch.ones(3, 6, dtype=torch.float64), torch.ones(3, dtype=torch.float64)]
    circuit = provnet.trace(lambda x: F.linear(x, constants[0], constants[1]), X)
    circuit.evaluate("real")
    constants[which].add_(1)
    with pytest.raises(StaleCircuitError):
        circuit.evaluate("real")
