"""Every architecture records, its replay gives the model's own output, and the model is as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch._ops import OpOverload

import tests.zoo  # noqa: F401
from provnet.capture.decompose import CONDITIONAL, DECOMPOSED
from provnet.capture.operations import facts_of
from provnet.capture.record import record
from provnet.capture.replay import replay
from provnet.capture.structure import tensors_in
from tests.capture.test_refusals import state_of
from tests.zoo.entries import ZOO, Entry

pytestmark = [
    pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
each = pytest.mark.parametrize("entry", ZOO.values(), ids=ZOO)


def state(model: Any) -> Any:
    """Return what a trace must leave alone; of a function, torch's own state."""
    return state_of(model if isinstance(model, nn.Module) else nn.Identity())


def same(one: Any, other: Any) -> bool:
    """Return whether two nested states are equal, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return one == other


@pytest.mark.guarantee("thirty architectures and more record, and their replay is the model's own output")
@each
def test_an_architecture_records_and_replays(entry: Entry) -> None:
    """To the bit where the model runs the kernels that are recorded, else to rounding."""
    model, args, kwargs = entry.build()
    with torch.no_grad():
        plain = dict(tensors_in(model(*args, **kwargs), "output"))
    before = state(model)
    execution = record(model, *args, model_kwargs=kwargs)
    assert same(before, state(model))
    assert tuple(execution.sources) == entry.sources
    again = replay(execution, {name: execution.tensor(value) for name, value in execution.sources.items()})
    assert set(again) == {name for name, tensor in plain.items() if tensor.is_floating_point()}
    for name, tensor in again.items():
        assert torch.equal(tensor, execution.tensor(execution.outputs[name]))
        torch.testing.assert_close(tensor, plain[name], rtol=0, atol=entry.tolerance)


@pytest.mark.guarantee("fused attention and recurrent layers are recorded as the plain ops that they consist of")
@each
def test_an_architecture_records_in_plain_ops(entry: Entry) -> None:
    """No op that is fused, that writes, or that is made of others; no integers that are traced."""
    model, args, kwargs = entry.build()
    execution = record(model, *args, model_kwargs=kwargs)
    functions = [op.func for op in execution.ops if isinstance(op.func, OpOverload)]
    assert not any(f in DECOMPOSED and f not in CONDITIONAL for f in functions)
    assert not any(facts_of(f).composite or f._schema.is_mutable for f in functions)
    assert all(v.tensor.is_floating_point() for v in execution.values.values() if v.active)


PAIRS = [
    ("decoder_sdpa", "decoder_by_hand"),
    ("decoder_by_hand", "decoder_einsum"),
    ("decoder_grouped_queries", "decoder_grouped_by_hand"),
    ("encoder_with_padding", "encoder_with_padding_by_hand"),
    *((f"{n}_sdpa", f"{n}_eager") for n in ("bert", "gpt2", "llama", "vit", "t5", "whisper", "clip")),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{a}={b}" for a, b in PAIRS])
def test_two_spellings_are_one_function(one: str, other: str) -> None:
    """The entries that are to have one answer compute one thing, so that a difference would be the answer's."""
    results = []
    for name in (one, other):
        model, args, kwargs = ZOO[name].build(torch.float64)
        execution = record(model, *args, model_kwargs=kwargs)
        results.append({key: execution.tensor(value) for key, value in execution.outputs.items()})
    shared = set(results[0]) & set(results[1])
    assert shared
    for key in shared:
        # Written out, transformers takes its softmax in single precision whatever the model's is.
        tolerance = 1e-6 if one.endswith("_sdpa") and "transformers" in ZOO[one].tags else 1e-9
        torch.testing.assert_close(results[0][key], results[1][key], rtol=tolerance, atol=tolerance)
