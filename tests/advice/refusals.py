"""What the tests of advice share: a refusal's message, and small models."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.errors import ProvnetError

X = torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]], dtype=torch.float64)


def refused(call: Callable[[], Any], error: type[ProvnetError] | tuple[type[ProvnetError], ...] = ProvnetError) -> str:
    """Return the message with which a call is refused."""
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def code(message: str, pattern: str) -> Any:
    """Return the value of the first piece of code in a message that the pattern's group matches."""
    found = re.search(pattern, message)
    assert found, f"{pattern!r} does not occur in: {message}"
    return ast.literal_eval(found[1])


def answer(circuit: provnet.Circuit) -> Tensor:
    """Return finite relevance that is not all zero: what a way out should lead to."""
    first = circuit.outputs[0]
    result = circuit.evaluate("real", target=(0,) * (first.dim() - 1), output=0)
    found = result[circuit.sources[0]]
    assert bool(torch.isfinite(found).all()) and bool(found.any())
    return found


def positive(module: nn.Module) -> nn.Module:
    """Return the module in evaluation and double precision, with positive weights: nothing cancels."""
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.5)
    return module.double().eval()


def dense(*sizes: int) -> nn.Module:
    """Return a perceptron with positive weights."""
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        layers += [nn.Linear(size, following), nn.ReLU()]
    return positive(nn.Sequential(*layers[:-1]))


def circuit_of(*sizes: int) -> provnet.Circuit:
    """Return a perceptron's circuit for two examples."""
    return provnet.trace(dense(*sizes), torch.ones(2, sizes[0], dtype=torch.float64))
