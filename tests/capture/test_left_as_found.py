"""What a run changes beside its result is undone: memory from before it, and whatever modules hold by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provnet.capture.record import record
from provnet.errors import InputError, ProvnetError

X = torch.arange(6.0).reshape(2, 3) / 3


class Keeper(nn.Module):
    """Changes what it holds, in every way that a model may."""

    def __init__(self, then: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.then, self.calls = nn.Linear(3, 3), then, 0
        self.norms = [nn.BatchNorm1d(3)]
        self.register_buffer("mean", torch.zeros(3))
        self.seen: list[Tensor] = []
        self.cache: dict[str, Tensor] = {"old": torch.ones(2)}

    def forward(self, x: Tensor) -> Any:
        assert isinstance(self.mean, Tensor)
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        self.last = x
        self.seen.append(x)
        self.cache.pop("old").add_(1)
        self.cache["new"] = x
        self.norms[0].weight = nn.Parameter(torch.ones(3))
        self.linear.weight.data.mul_(2)
        torch.rand(3)
        return self.then(self.linear(x) + self.norms[0](x))


def fail(y: Tensor) -> Tensor:
    raise ValueError("the model's own fault")


def held(model: Keeper) -> dict[str, Any]:
    """Return all that the model holds: the objects, and what lies in its tensors."""
    modules = [*model.modules(), *model.norms]
    found: dict[str, Any] = {
        f"{i}.{k}": v for i, m in enumerate(modules) for k, v in [*vars(m).items(), *m._buffers.items()]
    }
    found |= {f"{i}.{k}": p for i, m in enumerate(modules) for k, p in m._parameters.items()}
    found |= {"seen": tuple(model.seen), "cache": tuple(model.cache.items())}
    objects = {name: id(value) for name, value in found.items() if name not in ("seen", "cache")}
    bits = {name: value.detach().clone() for name, value in found.items() if isinstance(value, Tensor)}
    return {"objects": objects, "bits": bits, "seen": len(model.seen), "cache": list(model.cache)}


@pytest.mark.guarantee("what a run rebinds, appends or writes in modules is undone, also in modules held in lists")
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.parametrize(
    ("then", "error"), [(lambda y: y, None), (fail, InputError), (lambda y: torch.ones(2), ProvnetError)]
)
def test_a_model_that_changes_itself(then: Callable[[Tensor], Any], error: type[Exception] | None) -> None:
    model = Keeper(then)
    old, before, random = model.cache["old"], held(model), torch.get_rng_state()
    if error is None:
        record(model, X)
    else:
        with pytest.raises(error):
            record(model, X)
    after = held(model)
    for key in ("objects", "seen", "cache"):
        assert after[key] == before[key], key
    assert all(torch.equal(after["bits"][name], bits) for name, bits in before["bits"].items())
    assert torch.equal(old, torch.ones(2))
    assert torch.equal(torch.get_rng_state(), random)


MEAN, CACHE, NORM = torch.zeros(3), torch.zeros(2, 3), [nn.BatchNorm1d(3)]


def writes_cache(x: Tensor) -> Tensor:
    CACHE[:] = x * 2
    return CACHE.sum(1, keepdim=True) + x


OUTSIDE: dict[str, Callable[[Tensor], Tensor]] = {
    "a batch norm in a list": lambda x: NORM[0](x),
    "statistics of a function": lambda x: F.batch_norm(x, MEAN, torch.ones(3), training=True),
    "a mean": lambda x: x + MEAN.mul_(0.5).add_(x.detach().mean(0)).sum(),
    "a part": lambda x: x * MEAN[1:].add_(1).sum(),
    "out=": lambda x: x + torch.add(CACHE, 1, out=CACHE),
    "an active value": writes_cache,
}


@pytest.mark.guarantee("tensors that a model closes over are left as found, whatever it writes to them")
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.parametrize("model", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("options", [{}, {"check_batch": True}, {"graph": True}], ids=str)
def test_what_a_model_closes_over(model: Callable[[Tensor], Tensor], options: dict[str, Any]) -> None:
    watched = [MEAN, CACHE, *NORM[0].parameters(), *NORM[0].buffers()]
    before = [tensor.detach().clone() for tensor in watched]
    with suppress(ProvnetError):
        record(model, X, **options)
    assert all(torch.equal(now, was) for now, was in zip(watched, before, strict=True))
