"""Where a tensor lies is asked once an op: what changes between ops, or by one, is seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from provnet.capture.record import record
from provnet.capture.replay import replay

X = torch.tensor([[1.0, 2.0], [3.0, 5.0]])


def other_memory(x: Tensor) -> Tensor:
    y, z = x * 2, x + 1
    y.data = z
    return y * 3


def turned_in_place(x: Tensor) -> Tensor:
    y = x[:, None] * 2
    y.transpose_(1, 2)
    return y + 1


def resized_by_out(x: Tensor) -> Tensor:
    y = torch.empty(0)
    torch.mul(x, 2, out=y)
    return y + 1


OPS: dict[Callable[[Tensor], Tensor], list[str]] = {
    other_memory: ["add", "mul"],
    turned_in_place: ["unsqueeze", "mul", "transpose", "add"],
    resized_by_out: ["mul", "add"],
}


@pytest.mark.filterwarnings("ignore:gradients of a traced tensor are cut")
@pytest.mark.parametrize("model", OPS, ids=lambda model: model.__name__)
def test_what_lies_elsewhere_now_is_found_there(model: Callable[[Tensor], Tensor]) -> None:
    execution = record(model, X)
    assert [op.name.removeprefix("aten.") for op in execution.ops] == OPS[model]
    assert torch.equal(replay(execution, X)["output"], model(X))
