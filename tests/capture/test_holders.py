"""Which memory nobody else can write to, and which states of a model's weights are known to be sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

import provnet
from provnet.capture import checks
from provnet.capture.holders import unshared
from provnet.capture.record import record
from provnet.errors import NonFiniteError

X = torch.tensor([[1.0, 2.0]])


def in_a_cycle(tensor: Tensor) -> list[Any]:
    found: list[Any] = [tensor]
    found.append(found)
    return found


HOLDERS: dict[str, Callable[[Tensor], Any]] = {
    "the tensor": lambda t: t,
    "a view": lambda t: t[1:],
    "detached": lambda t: t.detach(),
    "numpy": lambda t: t.numpy(),
    "its storage": lambda t: t.untyped_storage(),
    "a storage with a type": lambda t: t.storage(),
    "a cycle": lambda t: in_a_cycle(t),
    "dlpack": lambda t: np.from_dlpack(t),
    "a graph": lambda t: t * torch.ones(2, requires_grad=True),
}


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_whoever_holds_memory_is_counted(hold: Callable[[Tensor], Any]) -> None:
    own = [torch.rand(2)]
    own.append(own[0][:1])
    assert unshared(own) == {own[0].data_ptr()}
    held = hold(own[0].detach())
    assert unshared(own) == frozenset(), held
    del held


def test_memory_of_others_counts_as_held() -> None:
    assert unshared([torch.from_numpy(np.zeros(3))]) == frozenset()


def test_a_hook_that_keeps_a_value_is_a_holder() -> None:
    model, seen = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval(), []
    model[1].register_forward_hook(lambda _module, _args, output: seen.append(output[:, 1:]))
    execution = record(model, X)
    first, kept, last = (execution.tensor(op.outputs[0] or 0) for op in execution.ops)
    assert first.data_ptr() in execution.unshared
    assert kept.data_ptr() not in execution.unshared
    assert last.data_ptr() in execution.unshared


# -- NaN in weights is looked for once for each state of them ---------------------------------------------------------


def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows whenever all weights are looked at."""
    found: list[int] = []
    whole = checks._all_finite
    monkeypatch.setattr(checks, "_all_finite", lambda tensors: found.append(1) or whole(tensors))
    return found


def wide() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 700), nn.ReLU(), nn.Linear(700, 700), nn.Linear(700, 1)).eval()


WRITES: dict[str, Callable[[Any], Any]] = {
    "counted": lambda model: nn.init.constant_(model[2].weight, float("nan")),
    "one entry, counted": lambda model: model[2].weight.detach().view(-1)[12345].fill_(float("nan")),
    "a stretch, by .data": lambda model: model[2].weight.data.view(-1)[30000:34000].fill_(float("nan")),
    "replaced": lambda model: setattr(model[2], "weight", nn.Parameter(torch.full((700, 700), float("inf")))),
    "other data": lambda model: setattr(model[2].weight, "data", torch.full((700, 700), float("inf"))),
    "a bias by numpy": lambda model: model[0].bias.detach().numpy().fill(float("nan")),
    "another module": lambda model: model.append(nn.Linear(1, 1)) and nn.init.constant_(model[4].bias, float("nan")),
}


@pytest.mark.guarantee("NaN in weights is refused in every trace, also where the model was traced before")
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_weights_that_changed_are_looked_at_again(write: Callable[[Any], Any]) -> None:
    model = wide()
    provnet.trace(model, X)
    write(model)
    with pytest.raises(NonFiniteError, match=r"the parameter '\d\.(weight|bias)' holds"):
        provnet.trace(model, X)


def test_weights_that_did_not_change_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = wide(), looks(monkeypatch)
    for count in (1, 1):
        provnet.trace(model, X)
        assert len(found) == count
    with torch.no_grad():
        model[0].bias.add_(1)
    provnet.trace(model, X)
    assert len(found) == 2


def test_weights_of_inference_mode_are_looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch does not count writes to them."""
    with torch.inference_mode():
        model, found = wide(), looks(monkeypatch)
    for count in (1, 2):
        provnet.trace(model, X)
        assert len(found) == count


def test_what_is_remembered_holds_no_weights() -> None:
    model = wide()
    provnet.trace(model, X)
    seen = StorageWeakRef(model[2].weight.untyped_storage())
    model[2].weight = nn.Parameter(torch.zeros(700, 700))
    assert seen.expired()
