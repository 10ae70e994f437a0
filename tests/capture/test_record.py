"""The record is complete: replayed from its ops alone, also on another input, it gives what the model gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import OpOverload

from provnet.capture.decompose import CONDITIONAL, DECOMPOSED
from provnet.capture.execution import Execution, Ref
from provnet.capture.operations import facts_of
from provnet.capture.record import record
from provnet.capture.replay import replay, replay_values
from provnet.errors import TraceWarning
from tests.capture.models import CASES, Case, Lambda

# Attention and LSTM run in plain ops while recording, the fused kernels round otherwise.
FUSED = {"transformer": 1e-6, "causal_attention": 1e-6, "lstm": 1e-6}


def named(name: str) -> Any:
    """Return the model of the case called `name`, and its input."""
    return next(case for case in CASES if case.name == name).build()[:2]


def ops(execution: Execution) -> list[str]:
    return [op.label for op in execution.ops]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_replay_gives_what_the_model_gives(case: Case) -> None:
    """Functional ops on stored values are equivalent to the run with its writes, views and control flow."""
    model, x, other = case.build()
    execution = record(model, x)
    with torch.no_grad():
        tolerance = FUSED.get(case.name, 0.0)
        torch.testing.assert_close(replay(execution, x)["output"], model(x.clone()), rtol=0, atol=tolerance)
        if not case.control_flow:
            torch.testing.assert_close(replay(execution, other)["output"], model(other.clone()), rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_recorded_value_is_what_the_replay_computes(case: Case) -> None:
    """So none of them was overwritten later, whatever the model wrote in place. Exact: the same kernels run."""
    model, x, _ = case.build()
    execution = record(model, x)
    for value, tensor in replay_values(execution, x).items():
        recorded = execution.values[value].tensor
        assert recorded.shape == tensor.shape
        torch.testing.assert_close(recorded, tensor, rtol=0, atol=FUSED.get(case.name, 0.0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_execution_is_well_formed(case: Case) -> None:
    """References point backwards, only active ops are kept, each is needed, and labels are unique."""
    model, x, _ = case.build()
    execution = record(model, x)
    ready = {i for i, value in execution.values.items() if value.kind in ("source", "parameter", "buffer", "constant")}
    used = set(execution.outputs.values())
    for op in execution.ops:
        inputs = set(op.reads)
        assert inputs <= ready
        assert any(execution.active(Ref(i)) for i in inputs)
        ready |= {value for value in op.outputs if value is not None}
        used |= inputs
    assert all(any(value in used for value in op.outputs) for op in execution.ops)
    assert len(set(ops(execution))) == len(execution.ops)
    overloads = [op.func for op in execution.ops if isinstance(op.func, OpOverload)]
    assert not any(facts_of(overload).composite or overload._schema.is_mutable for overload in overloads)
    assert not any(overload in DECOMPOSED and overload not in CONDITIONAL for overload in overloads)
    assert set(execution.values) == ready
    assert not any(tensor.requires_grad for tensor in (value.tensor for value in execution.values.values()))
    assert {i for call in execution.modules for i in (*call.inputs, *call.outputs)} <= set(execution.values)


def test_in_place_ops_are_recorded_as_functional_ones() -> None:
    execution = record(*named("resnet"))
    assert {op.name for op in execution.ops} == {
        "aten.convolution", "aten.native_batch_norm", "aten.relu", "aten.add", "aten.mean", "aten.view", "aten.addmm",
    }  # fmt: skip
    assert all(isinstance(op.func, OpOverload) for op in execution.ops)
    assert ops(execution)[:7] == ["0", "1.conv1", "1.bn", "1.relu#0", "1.conv2", "1/add_1", "1.relu#1"]
    residual = execution.ops[5]
    assert residual.args == (Ref(execution.ops[4].outputs[0] or 0), Ref(execution.ops[0].outputs[0] or 0))


def test_attention_is_recorded_in_plain_ops() -> None:
    names = {op.name for name in ("transformer", "causal_attention") for op in record(*named(name)).ops}
    assert not any("attention" in name or "encoder" in name for name in names)
    assert "aten.bmm" in names


def test_a_buffer_that_is_filled_step_by_step_is_written_once() -> None:
    """Else it would be copied at each step: steps times its size."""
    execution = record(*named("filled_buffer"))
    writes = [op for op in execution.ops if op.name == "provnet.write_window"]
    assert len(writes) == 1
    assert len(writes[0].args[1]) == 4


def test_chunks_that_interleave_in_memory_are_apart() -> None:
    """A write to one chunk leaves the others fresh, though their extents overlap."""

    def model(x: Tensor) -> Tensor:
        a, b = x.mul(1).chunk(2, 1)
        a.relu_()
        return a + b

    assert [op.name for op in record(model, torch.randn(3, 4)).ops] == [
        "aten.mul", "aten.split", "aten.relu", "aten.add",
    ]  # fmt: skip


def test_modules_name_their_calls_and_ops() -> None:
    execution = record(*named("functional"))
    assert ops(execution) == ["a#0", "relu_1", "a#1", "relu_2", "add_1", "cat_1", "b", "mul_1", "add_2"]
    calls = [(call.path, call.module, call.call) for call in execution.modules]
    assert calls == [("", "Lambda", 0), ("a", "Linear", 0), ("a", "Linear", 1), ("b", "Linear", 0)]
    root, first, second, _ = execution.modules
    assert (root.inputs, root.outputs) == ((execution.sources["input"],), (execution.outputs["output"],))
    assert first.inputs == root.inputs
    assert first.outputs == (execution.ops[0].outputs[0],)
    assert second.inputs == (execution.ops[1].outputs[0],)


def test_a_module_that_returns_several_tensors_says_where_each_stood() -> None:
    model, x = named("lstm")
    call = record(model, x).modules[1]
    assert call.output_keys == ("[0]", "[1][0]", "[1][1]")


def test_a_leaf_with_several_ops_counts_them() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    assert ops(record(model, torch.ones(2, 4, 3))) == ["0/view_1", "0/addmm_1", "0/view_2"]


def test_a_function_knows_the_modules_that_it_mentions() -> None:
    model, x = named("plain_function")
    execution = record(model, x)
    assert ops(execution) == ["net", "relu_1", "slice_1", "sub_1"]
    assert {v.name for v in execution.values.values() if v.kind == "parameter"} == {"net.weight", "net.bias"}


def test_parameters_keep_their_name_and_version() -> None:
    model = nn.Linear(3, 2)
    execution = record(model, torch.ones(1, 3))
    kept = {value.name: value for value in execution.values.values() if value.kind == "parameter"}
    assert set(kept) == {"weight", "bias"}
    weight = kept["weight"]
    assert weight.tensor.shape == (3, 2)  # as the op sees it: transposed, on the parameter's own memory
    assert weight.tensor.data_ptr() == model.weight.data_ptr()
    assert weight.owner is not None
    assert weight.version == weight.owner._version
    with torch.no_grad():
        model.weight.mul_(2)
    assert weight.version != weight.owner._version


def test_tied_weights_go_by_one_name() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    execution = record(nn.Sequential(first, second), torch.ones(1, 3))
    assert [v.name for v in execution.values.values() if v.kind == "parameter"] == ["0.bias", "0.weight", "1.bias"]


def test_a_copy_owns_its_weights() -> None:
    model, x = nn.Linear(3, 2), torch.randn(2, 3)
    execution = record(model, x, copy=True)
    before = model(x).detach()
    with torch.no_grad():
        model.weight.zero_()
    assert all(value.version is None for value in execution.values.values())
    assert torch.equal(replay(execution, x)["output"], before)


def test_values_are_no_objects_of_the_caller() -> None:
    """Neither a later write to the input, nor one of the model to its input, reaches the record or the caller."""
    model, x = named("inplace_on_input")
    given = x.clone()
    execution = record(model, x)
    assert torch.equal(x, given)
    x.zero_()
    assert torch.equal(execution.tensor(execution.sources["input"]), given)


# --- sources and outputs ----------------------------------------------------------------------------------------------


def add(a: Tensor, b: Tensor) -> Tensor:
    return a + b


def test_sources_are_named_by_the_parameters_of_forward() -> None:
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    assert list(record(add, x, y).sources) == ["a", "b"]
    assert list(record(add, x, model_kwargs={"b": y}).sources) == ["a", "b"]
    assert list(record(lambda *xs: xs[0] + xs[1], x, y).sources) == ["xs[0]", "xs[1]"]
    assert list(record(lambda d: d["a"] + d["b"][0], {"a": x, "b": (y,)}).sources) == ["d[a]", "d[b][0]"]
    assert list(record(add, x, x).sources) == ["input"]


@pytest.mark.parametrize("choice", ["b", 1, "tensor"])
def test_sources_may_be_chosen_by_name_position_or_object(choice: Any) -> None:
    x, y = torch.randn(2, 3), torch.randn(1, 3)
    execution = record(add, x, y, sources=y if choice == "tensor" else [choice])
    assert list(execution.sources) == ["input"]
    assert torch.equal(execution.tensor(execution.sources["input"]), y)
    constant = next(v for v in execution.values.values() if v.kind == "constant")
    assert torch.equal(constant.tensor, x)


@dataclass
class Answer:
    scores: Tensor
    extra: tuple[Tensor, int]


def test_arguments_may_be_dataclasses() -> None:
    def model(given: Answer) -> Tensor:
        return given.scores.relu_() + given.extra[0]

    x = torch.randn(2, 3)
    before = x.clone()
    execution = record(model, Answer(x, (torch.ones(2, 3), 7)))
    assert list(execution.sources) == ["given[scores]", "given[extra][0]"]
    assert torch.equal(x, before)


def test_nested_outputs_are_named() -> None:
    def model(x: Tensor) -> Answer:
        return Answer(x * 2, (x.sum(1), 7))

    assert list(record(model, torch.ones(2, 3)).outputs) == ["output[scores]", "output[extra][0]"]


def test_what_does_not_depend_on_a_source_is_a_constant() -> None:
    """Masks, comparisons and position tables leave no op, and dead branches none either."""

    def model(m: Any, x: Tensor) -> Tensor:
        positions = torch.arange(3).float().mul(2).cos()
        x.exp()  # nobody needs it
        return m.a(torch.where(x > 0, x, x * 0.1) + positions)

    execution = record(Lambda(model, a=nn.Linear(3, 2)), torch.randn(2, 3))
    assert ops(execution) == ["mul_1", "where_1", "add_1", "a"]
    assert sum(value.kind == "constant" for value in execution.values.values()) == 2


@pytest.mark.parametrize(
    "constant",
    [torch.zeros_like, torch.sign, lambda x: (x * 1).sign_(), lambda x: (x * 1).zero_(), lambda x: (x > 0).float()],
)
def test_what_has_no_derivative_anywhere_is_a_constant(constant: Any) -> None:
    execution = record(lambda x: x + constant(x), torch.randn(2, 3))
    assert ops(execution) == ["add_1"]
    assert [value.kind for value in execution.values.values()] == ["source", "constant", "computed"]


def test_indices_of_an_op_that_nobody_needs_are_constants() -> None:
    execution = record(lambda x: x.gather(1, x.topk(2).indices), torch.randn(2, 3))
    assert ops(execution) == ["gather_1"]
    assert [value.kind for value in execution.values.values()] == ["source", "constant", "computed"]


def test_a_replayed_tensor_may_lie_otherwise_in_memory() -> None:
    """A write through a view makes a contiguous tensor of a transposed one; its transpose has no flat view."""

    def model(x: Tensor) -> Tensor:
        y = x.t() * 1
        y[0] = 3
        return y.sum() + y.t().view(-1)

    x, other = torch.randn(3, 4), torch.randn(3, 4)
    # Lying otherwise in memory, the sum is added up in another order.
    torch.testing.assert_close(replay(record(model, x), other)["output"], model(other))


def test_batch_dim_names_the_axis_of_examples() -> None:
    execution = record(nn.GRU(3, 4), torch.randn(5, 2, 3), batch_dim=1)
    assert (execution.batch, execution.batch_dim) == (2, 1)


# --- what cannot be recorded in full is remarked on -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x * x.max().item(), "Python number"),
        (lambda x: x + torch.from_numpy(x.numpy() * 2), "leaves torch by 'numpy'"),
        (lambda x: x * x.sum().tolist(), "leaves torch by 'tolist'"),
        (lambda x: x + torch.rand(2, 3), "random numbers"),
        (lambda x: F.dropout(x), "random numbers"),
    ],
)
def test_a_remark_is_made_on_what_becomes_constant(model: Any, message: str) -> None:
    with pytest.warns(TraceWarning, match=message):
        record(model, torch.ones(2, 3))


def test_inference_mode_gives_the_same_record() -> None:
    """There torch shows composite ops undivided; they are taken apart."""
    model, x = named("resnet")
    with torch.inference_mode():
        inside = record(model, x)
        attention, y = named("causal_attention")
        assert not any(
            op.name in ("aten.linear", "aten.scaled_dot_product_attention") for op in record(attention, y).ops
        )
    assert ops(inside) == ops(record(model, x))


def test_scripted_models_are_recorded() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    x, other = torch.randn(2, 3), torch.randn(2, 3)
    execution = record(torch.jit.script(model), x)
    assert torch.equal(replay(execution, other)["output"], model(other))
