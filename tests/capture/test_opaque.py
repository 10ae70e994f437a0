"""An opaque module is one op, and nothing gets past it unseen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from provnet.capture.record import record
from provnet.capture.replay import replay
from provnet.errors import OptionError, TraceError, UnknownNameError
from tests.capture.models import Lambda


def net() -> nn.Module:
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4))
    return nn.Sequential(nn.Linear(3, 4), inner, nn.Linear(4, 2))


@pytest.mark.parametrize("by", ["path", "module", "mapping", "bare"])
def test_an_opaque_call_is_one_op(by: str) -> None:
    model, x, other = net(), torch.randn(2, 3), torch.randn(2, 3)
    inner: Any = model.get_submodule("1")
    opaque = {"path": ["1"], "module": [inner], "mapping": {inner: "identity"}, "bare": "1"}[by]
    execution = record(model, x, opaque=opaque)
    assert [(op.name, op.label, op.module) for op in execution.ops][1] == ("provnet.opaque", "1", "Sequential")
    assert len(execution.ops) == 3
    assert execution.opaque == {1: "identity" if by == "mapping" else "jacobian"}
    with torch.no_grad():
        assert torch.equal(replay(execution, other)["output"], model(other))


def test_the_mode_may_be_a_function() -> None:
    def rule(*_: Any) -> None: ...

    assert record(net(), torch.ones(1, 3), opaque={"1": rule}).opaque == {1: rule}


def test_an_opaque_model_with_several_arguments_and_results() -> None:
    def forward(_: Any, pair: tuple[Tensor, Tensor], scale: float) -> dict[str, Tensor]:
        return {"a": pair[0] * scale, "b": pair[1].sum(1)}

    x, y = torch.randn(2, 3), torch.randn(2, 3)
    execution = record(Lambda(forward), (x, y), model_kwargs={"scale": 2.0}, opaque=[""])
    assert [op.name for op in execution.ops] == ["provnet.opaque"]
    again = replay(execution, {"args[0][0]": y, "args[0][1]": x})
    assert torch.equal(again["output[a]"], y * 2)
    assert torch.equal(again["output[b]"], x.sum(1))


def test_an_opaque_module_that_writes_to_its_input_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(inplace=True)))
    with pytest.raises(TraceError, match=r"opaque module '1' writes, in place"):
        record(model, torch.ones(1, 3), opaque=["1"])


def test_an_opaque_module_that_reads_a_traced_tensor_by_the_way_is_refused() -> None:
    memory: list[Tensor] = []

    def outer(m: Any, x: Tensor) -> Tensor:
        memory[:] = [x * 2]
        return m.inner(x)

    model = Lambda(outer, inner=Lambda(lambda _, x: x + memory[0]))
    with pytest.raises(TraceError, match="none of its arguments"):
        record(model, torch.ones(1, 3), opaque=["inner"])


def test_what_an_opaque_module_keeps_to_itself_may_not_be_used() -> None:
    memory: list[Tensor] = []

    def inner(_: Any, x: Tensor) -> Tensor:
        memory[:] = [x * 2]
        return x + 1

    model = Lambda(lambda m, x: m.inner(x) + memory[0], inner=Lambda(inner))
    with pytest.raises(TraceError, match="computed but did not return"):
        record(model, torch.ones(1, 3), opaque=["inner"])


def test_a_view_of_what_an_opaque_module_returns_in_parts_is_active() -> None:
    """Nobody recorded the whole of that memory, so it is put together from the parts."""

    def outer(m: Any, x: Tensor) -> Tensor:
        left, right = m.inner(x)
        left.mul_(2)
        return left[:, :1] + right.as_strided((2, 1), (4, 1), 2)

    model = Lambda(outer, inner=Lambda(lambda _, x: (x * 3).split(2, 1)))
    other = torch.randn(2, 4)
    execution = record(model, torch.randn(2, 4), opaque=["inner"])
    assert torch.equal(replay(execution, other)["output"], model(other.clone()))


def test_names_and_modes_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="no module of the model"):
        record(net(), torch.ones(1, 3), opaque=["2.9"])
    with pytest.raises(OptionError, match="identity, uniform, jacobian"):
        record(net(), torch.ones(1, 3), opaque={"1": "jakobian"})
