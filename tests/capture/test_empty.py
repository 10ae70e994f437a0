"""Empty parts of traced tensors: they hold no neuron, so they are constants, and the rest is traced."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import provnet

D = torch.float64
NONE = torch.empty(0, dtype=torch.int64)


def filled(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :0] = x[:, :0]
    y[:, 0:] = x
    return y


MODELS: dict[str, Callable[[Tensor], Tensor]] = {
    "cat": lambda x: torch.cat([x[:, :0], x], 1),
    "cat on a negative axis": lambda x: torch.cat([x, x[:, 2:]], -1),
    "cat of the old kind, one axis": lambda x: torch.cat([torch.empty(0, dtype=D), x], 1),
    "cat of rows": lambda x: torch.cat([x.unsqueeze(2)[:, :, :0], x.unsqueeze(2)], 2).flatten(1),
    "split": lambda x: torch.cat(x.split([0, 2], 1), 1),
    "tensor_split": lambda x: torch.cat(x.tensor_split([0, 1], 1), 1),
    "index": lambda x: x + x[:, NONE].sum(1, keepdim=True),
    "index_select": lambda x: torch.cat([x.index_select(1, NONE), x], 1),
    "mask": lambda x: torch.cat([x[:, torch.zeros(2, dtype=torch.bool)], x], 1),
    "stack of empty parts": lambda x: x + torch.stack([x[:, :0], x[:, :0]], 1).sum((1, 2))[:, None],
    "view of an empty part": lambda x: torch.cat([x[:, :0].view(len(x), 0), x[:, :0].relu(), x], 1),
    "narrow and transpose": lambda x: torch.cat([x.narrow(1, 1, 0).t().t(), x], 1),
    "an empty write": filled,
    "an empty product": lambda x: x + x[:, :0] @ torch.zeros(0, 2, dtype=D),
}


@pytest.mark.guarantee("empty parts of tensors are no neurons: cat, split, index, stack and writes of them are traced")
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_empty_changes_nothing(name: str, batch: int):
    weight = torch.tensor([[3.0, 4.0]], dtype=D)
    x = torch.tensor([[1.0, 2.0], [5.0, -1.0]], dtype=D)[:batch]
    model = MODELS[name]
    found = provnet.trace(lambda x: torch.nn.functional.linear(model(x), weight), x).evaluate("real", 0).inputs
    assert torch.allclose(found, x * weight / (x @ weight.t()), rtol=1e-12)
