"""What integers look up is the source; masks and positions are none; any module's output may be one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from provnet.capture.execution import Execution
from provnet.capture.record import record
from provnet.capture.replay import replay
from provnet.errors import CrossExampleError, InputError, TraceError, UnknownNameError
from tests.capture.models import Lambda

TOKENS = torch.tensor([[1, 2, 0, 4], [3, 4, 1, 2], [0, 0, 4, 3]])


def table(function: Any, **modules: nn.Module) -> nn.Module:
    """A model with an embedding of five tokens, called `table`, whose forward is `function`."""
    torch.manual_seed(0)
    net: nn.Module = type("Net", (nn.Module,), {"forward": function})()
    for name, module in {"table": nn.Embedding(5, 2), **modules}.items():
        net.add_module(name, module)
    return net.eval()


def source(execution: Execution, name: str) -> Tensor:
    return execution.tensor(execution.sources[name])


def recorded(execution: Execution) -> dict[str, Tensor]:
    return {name: execution.tensor(value) for name, value in execution.sources.items()}


@pytest.mark.guarantee("what integers look up is a source by default, named by the argument and the module")
def test_a_look_up_is_the_source_by_default() -> None:
    model = table(lambda m, tokens: m.table(tokens).sum(1))
    execution = record(model, TOKENS)
    assert list(execution.sources) == ["tokens"]
    assert torch.equal(source(execution, "tokens"), model.get_submodule("table")(TOKENS))
    assert [call.outputs for call in execution.modules if call.path == "table"] == [(execution.sources["tokens"],)]
    assert [op.name for op in execution.ops] == ["aten.sum"]


def offset(m: Any, tokens: Tensor) -> Tensor:
    return m.table((tokens + torch.tensor([0, 1, 2, 3])) % 5).sum(1)


def shifted(m: Any, tokens: Tensor) -> Tensor:
    """As decoders do: a start token before, and the last one left out."""
    moved = tokens.new_zeros(tokens.shape)
    moved[:, 1:] = tokens[:, :-1].clone()
    moved[:, 0] = 3
    return m.table(moved.masked_fill_(moved == -100, 0)).sum(1)


@pytest.mark.parametrize(
    ("model", "tokens", "shape"),
    [
        (lambda m, tokens: m.table(tokens[:, 1:].flip(1)).sum(1), TOKENS, (3, 3, 2)),
        (lambda m, tokens: m.table(tokens.t()).sum(0), TOKENS, (3, 4, 2)),
        (lambda m, tokens: m.table(tokens.reshape(-1)).view(3, 4, 2).sum(1), TOKENS, (3, 4, 2)),
        (lambda m, tokens: m.table(tokens.view(-1, 2)).view(3, 4, 2).sum(1), TOKENS, (3, 2, 2, 2)),
        (lambda m, tokens: m.table(tokens.squeeze(0)).sum(0, keepdim=True), TOKENS[:1], (1, 4, 2)),
        (lambda m, tokens: m.table(tokens.to(torch.int32)).sum(1), TOKENS, (3, 4, 2)),
        (lambda m, tokens: F.embedding(tokens, m.table.weight).sum(1), TOKENS, (3, 4, 2)),
        (lambda m, tokens: m.table.weight[tokens].sum(1), TOKENS, (3, 4, 2)),
        (lambda m, tokens: m.table.weight.index_select(0, tokens.reshape(-1)).view(3, 4, 2).sum(1), TOKENS, None),
        (offset, TOKENS, (3, 4, 2)),
        (shifted, TOKENS, (3, 4, 2)),
    ],
)
def test_tokens_may_go_through_index_ops_and_renumbering(model: Any, tokens: Tensor, shape: Any) -> None:
    """The source has its examples first, however they lie in the look-up, and the replay starts from it."""
    net = table(model)
    execution = record(net, tokens)
    assert execution.batch == len(tokens)
    if shape is not None:
        assert source(execution, "tokens").shape == shape
    with torch.no_grad():
        assert torch.equal(replay(execution, recorded(execution))["output"], net(tokens))
    for row in range(len(tokens)):
        if len(tokens) > 1 and shape is not None:
            changed = source(execution, "tokens").clone()
            changed[row] += 1
            moved = replay(execution, {"tokens": changed})["output"] - execution.tensor(execution.outputs["output"])
            assert [i for i in range(len(tokens)) if moved[i].any()] == [row]


def test_tokens_that_lie_across_examples_are_refused() -> None:
    with pytest.raises(CrossExampleError, match="'tokens' is looked up in an order"):
        record(table(lambda m, tokens: m.table(tokens.t().reshape(-1)).view(4, 3, 2).sum(0)), TOKENS)


def test_bags_are_sources() -> None:
    bag = nn.EmbeddingBag(5, 2)
    assert source(record(bag, TOKENS), "input").shape == (3, 2)
    execution = record(lambda tokens, offsets: bag(tokens, offsets) * 2, TOKENS.reshape(-1), torch.tensor([0, 4, 7]))
    assert list(execution.sources) == ["tokens"]
    assert execution.batch == 3


@pytest.mark.guarantee("masks and positions are no sources unless they are named")
def test_masks_and_positions_are_no_sources() -> None:
    def forward(m: Any, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, x: Tensor) -> Tensor:
        hidden = m.table(input_ids) + m.places(position_ids) + x
        return (hidden + (1 - attention_mask[..., None].to(hidden.dtype)) * -1e4).softmax(1).sum(1)

    net = table(forward, places=nn.Embedding(4, 2))
    args = (TOKENS, torch.ones(3, 4), torch.arange(4).expand(3, 4), torch.randn(3, 1, 2))
    assert list(record(net, *args).sources) == ["x", "input_ids"]
    assert set(record(net, *args, sources=["x", "position_ids"]).sources) == {"x", "position_ids"}
    assert set(record(net, *args, sources=["x", "attention_mask"]).sources) == {"x", "attention_mask"}
    assert list(record(lambda mask: mask * 2, torch.ones(2, 3)).sources) == ["input"]


def test_several_look_ups_of_one_argument_go_by_their_modules() -> None:
    net = table(lambda m, tokens: m.table(tokens) + m.other(tokens) + m.table(tokens + 0), other=nn.Embedding(5, 2))
    assert list(record(net, TOKENS).sources) == ["tokens@table#0", "tokens@other", "tokens@table#1"]


def test_integers_that_are_numbers_are_sources_if_named() -> None:
    def model(counts: Tensor) -> Tensor:
        return counts.float() * 2

    with pytest.raises(TraceError, match=r"sources=\['counts'\]"):
        record(model, TOKENS)
    execution = record(model, TOKENS, sources=["counts"])
    assert torch.equal(source(execution, "counts"), TOKENS.float())


def test_integers_of_other_kinds_are_constants() -> None:
    """An index that picks from a traced tensor, lengths, edges of a graph."""

    def model(x: Tensor, edges: Tensor) -> Tensor:
        return torch.zeros_like(x).index_add(1, edges[1], x[:, edges[0]]) / edges.shape[1]

    execution = record(model, torch.randn(2, 4), torch.tensor([[0, 1, 2], [1, 2, 3]]))
    assert list(execution.sources) == ["input"]
    assert all(execution.values[i].tensor.is_floating_point() for i, v in execution.values.items() if v.active)


@pytest.mark.guarantee("tokens out of range and empty sequences are refused by the name of their argument")
@pytest.mark.parametrize("wrong", [5, -1])
def test_tokens_out_of_range_are_refused(wrong: int) -> None:
    tokens = TOKENS.clone()
    tokens[1, 2] = wrong
    with pytest.raises(InputError, match=rf"'tokens' holds the number {wrong}, but the table of 'table' has 5 rows"):
        record(table(lambda m, tokens: m.table(tokens).sum(1)), tokens)


def test_empty_sequences_are_refused() -> None:
    net = table(lambda m, tokens, x=None: m.table(tokens).sum(1) + (0 if x is None else x))
    with pytest.raises(InputError, match=r"'tokens' is empty, of shape \(3, 0\)"):
        record(net, TOKENS[:, :0])
    with pytest.raises(InputError, match=r"'tokens' is empty where 'table' looks it up"):
        record(net, TOKENS[:, :0], torch.ones(3, 2))


# --- outputs of modules ----------------------------------------------------------------------------------------------


@pytest.mark.guarantee("any module's output may be a source: what came before it is left out")
def test_the_output_of_a_module_is_a_source_if_named() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    x = torch.randn(2, 3)
    execution = record(net, x, sources=["1"])
    assert list(execution.sources) == ["1"]
    assert [op.label for op in execution.ops] == ["2"]
    assert torch.equal(source(execution, "1"), net[:2](x))
    assert list(record(net, x, sources=[0, "1"]).sources) == ["input", "1"]


def test_one_call_of_several_may_be_a_source() -> None:
    net = Lambda(lambda m, x: m.a(m.a(m.a(x))), a=nn.Linear(3, 3))
    x = torch.randn(2, 3)
    execution = record(net, x, sources="a#1")
    assert list(execution.sources) == ["a#1"]
    assert [op.label for op in execution.ops] == ["a#2"]
    assert set(record(net, x, sources="a").sources) == {"a#0", "a#1", "a#2"}
    with pytest.raises(UnknownNameError, match="called 3 times"):
        record(net, x, sources="a#3")


def test_a_skip_around_a_source_stays_a_constant() -> None:
    """A module may hand on what it was given: its output is a source, its input is not."""
    net = Lambda(lambda m, x: m.a(x) + x, a=nn.Identity())
    execution = record(net, torch.ones(2, 3), sources=["a"])
    (op,) = execution.ops
    assert [execution.active(ref) for ref in op.args[:2]] == [True, False]


def test_a_module_source_holds_tuples_apart() -> None:
    net = Lambda(lambda m, x: (lambda y, s: y[:, -1] + s[0])(*m.rnn(x)), rnn=nn.GRU(3, 2, batch_first=True))
    execution = record(net, torch.randn(1, 4, 3), sources=["rnn"])
    assert list(execution.sources) == ["rnn[0]", "rnn[1]"]
