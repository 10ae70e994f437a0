"""Fused ops fall apart into plain ones that compute the same, on every way to them, and no switch is turned."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from provnet.capture.decompose import attention, recurrent
from provnet.capture.execution import Execution
from provnet.capture.record import record
from provnet.capture.replay import replay

aten = torch.ops.aten
KINDS = {"RNN": recurrent.TANH, "LSTM": recurrent.LSTM, "GRU": recurrent.GRU}


def names(execution: Execution) -> set[str]:
    return {op.name.removeprefix("aten.") for op in execution.ops}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_cudnn_layers_are_what_torch_computes(kind: str, bidirectional: bool, bias: bool, packed: bool) -> None:
    """The op of CUDA, called by hand with the weights of a layer that runs on the processor."""
    torch.manual_seed(0)
    rnn = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=bidirectional, bias=bias).double()
    x, sizes = torch.randn(5, 3, 3, dtype=torch.double), []
    given: Any = pack_padded_sequence(x, [5, 4, 2]) if packed else x
    if packed:
        x, sizes = given.data, given.batch_sizes.tolist()
    directions = 2 if bidirectional else 1
    zeros = torch.zeros(2 * directions, 3, 4, dtype=torch.double)
    with torch.no_grad():
        expected, state = rnn(given)
        rest = (KINDS[kind], 4, 0, 2, False, 0.0, False, bidirectional, sizes)
        weights: Any = rnn._flat_weights
        output, h, c = recurrent.cudnn_layers(x, weights, len(weights) // (2 * directions), None, zeros, zeros, *rest)
    torch.testing.assert_close(output, expected.data if packed else expected)
    torch.testing.assert_close(h, state[0] if kind == "LSTM" else state)
    if kind == "LSTM":
        torch.testing.assert_close(c, state[1])


def test_cudnn_layers_know_projections() -> None:
    torch.manual_seed(0)
    rnn = nn.LSTM(3, 4, proj_size=2, batch_first=True).double()
    x = torch.randn(2, 5, 3, dtype=torch.double)
    h, c = torch.zeros(1, 2, 2, dtype=torch.double), torch.zeros(1, 2, 4, dtype=torch.double)
    with torch.no_grad():
        rest = (recurrent.LSTM, 4, 2, 1, True, 0.0, False, False, [])
        weights: Any = rnn._flat_weights
        found = recurrent.cudnn_layers(x, weights, 5, None, h, c, *rest)
        torch.testing.assert_close(found[0], rnn(x)[0])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [None, "boolean", "additive"])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("heads", [2, 4])
def test_attention_in_all_its_variants(causal: bool, masked: str | None, scale: float | None, heads: int) -> None:
    if causal and masked:
        pytest.skip("torch takes one of them")
    torch.manual_seed(0)
    memory = torch.randn(2, 2, 5, 4)
    mask = None if masked is None else torch.rand(5, 5) > 0.3
    if mask is not None:
        mask[:, 0] = True
    if masked == "additive":
        mask = torch.randn(5, 5)

    def model(q: Tensor) -> Tensor:
        grouped = heads != 2
        return F.scaled_dot_product_attention(
            q, memory + q.mean((1, 2), keepdim=True), memory, mask, is_causal=causal, scale=scale, enable_gqa=grouped
        )

    q = torch.randn(2, heads, 5, 4)
    execution = record(model, q)
    assert not any("attention" in name for name in names(execution))
    torch.testing.assert_close(replay(execution, q)["output"], model(q), rtol=0, atol=1e-6)


def test_kernels_of_other_devices_take_their_arguments_in_other_orders() -> None:
    q, k, v = torch.randn(3, 2, 2, 5, 4).unbind(0)
    bias = torch.randn(2, 2, 5, 5)
    expected = F.scaled_dot_product_attention(q, k, v, bias, scale=0.3)
    torch.testing.assert_close(attention.biased_attention(q, k, v, bias, False, 0.0, False, scale=0.3), expected)
    torch.testing.assert_close(attention.overrideable_attention(q, k, v, bias, 0.0, False, scale=0.3), expected)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attention.flash_attention(q, k, v, 0.0, True, False), expected)
    torch.testing.assert_close(attention.biased_attention(q, k, v, None, True, 0.0, True), expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("padding", [False, True])
def test_the_fast_path_itself_falls_apart(norm_first: bool, activation: str, padding: bool) -> None:
    """Called by hand, as a subclass may do: the recorder meets torch's own fused op."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, batch_first=True, norm_first=norm_first).eval()
    inner = layer.self_attn
    mask = torch.tensor([[False] * 5, [False, False, False, True, True]]) if padding else None

    def model(x: Tensor) -> Tensor:
        return torch._transformer_encoder_layer_fwd(
            x, 8, 2, inner.in_proj_weight, inner.in_proj_bias, inner.out_proj.weight, inner.out_proj.bias,
            activation == "gelu", norm_first, layer.norm1.eps, layer.norm1.weight, layer.norm1.bias, layer.norm2.weight,
            layer.norm2.bias, layer.linear1.weight, layer.linear1.bias, layer.linear2.weight, layer.linear2.bias,
            mask, 1 if padding else None,
        )  # fmt: skip

    x = torch.randn(2, 5, 8)
    execution = record(model, x)
    assert names(execution).isdisjoint({"_transformer_encoder_layer_fwd", "_native_multi_head_attention"})
    with torch.no_grad():
        expected = model(x)
        slow = layer(x.requires_grad_(), src_key_padding_mask=mask).detach()
    kept = slice(None) if mask is None else ~mask
    torch.testing.assert_close(execution.tensor(execution.outputs["output"])[kept], expected[kept], rtol=0, atol=1e-5)
    torch.testing.assert_close(execution.tensor(execution.outputs["output"])[kept], slow[kept], rtol=0, atol=1e-5)


@pytest.mark.parametrize("average", [False, True])
def test_native_multi_head_attention_gives_its_weights(average: bool) -> None:
    torch.manual_seed(0)
    inner = nn.MultiheadAttention(8, 2, batch_first=True).eval()

    def model(x: Tensor) -> Any:
        weights = (inner.in_proj_weight, inner.in_proj_bias, inner.out_proj.weight, inner.out_proj.bias)
        return torch._native_multi_head_attention(x, x, x, 8, 2, *weights, None, True, average)

    x = torch.randn(2, 5, 8)
    execution = record(model, x)
    for name, expected in zip(("output[0]", "output[1]"), model(x), strict=True):
        torch.testing.assert_close(execution.tensor(execution.outputs[name]), expected, rtol=0, atol=1e-6)


PRODUCTS = [
    (lambda x: torch.addcmul(x, x.sin(), x.cos(), value=0.5), {"add", "mul"}),
    (lambda x: torch.addcdiv(x, x.sin(), x.exp(), value=0.5), {"add", "div"}),
    (lambda x: torch.lerp(x, x.sin(), x.sigmoid()), {"sub", "mul", "add"}),
    (lambda x: torch.lerp(x, x.sin(), 0.3), {"sub", "mul", "add"}),
    (lambda x: torch.baddbmm(x, x, x.sin(), beta=0.5, alpha=2), {"bmm", "mul", "add"}),
    (lambda x: torch.baddbmm(x, x, x.sin(), beta=0), {"bmm"}),
    (lambda x: torch.addbmm(x[0], x, x.sin())[None], {"bmm", "sum", "add"}),
    (lambda x: torch.addmm(x[0], x[0], x[1])[None], {"mm", "add"}),
    (lambda x: torch.dot(x[0, 0], x[0, 1])[None], {"mm"}),
    (lambda x: torch.einsum("bij,bjk,bkl->bil", x, x.sin(), x.cos()), {"bmm"}),
    (lambda x: F.bilinear(x, x.sin(), torch.ones(3, 4, 4, dtype=torch.double)), {"bmm"}),
    (lambda x: F.glu(x), {"mul", "sigmoid"}),
    (lambda x: F.rrelu(x), {"leaky_relu"}),
]


@pytest.mark.parametrize(("model", "parts"), PRODUCTS)
def test_hidden_products_are_seen(model: Any, parts: set[str]) -> None:
    x = torch.randn(2, 4, 4, dtype=torch.double)
    execution = record(model, x)
    assert parts <= names(execution)
    assert names(execution).isdisjoint(
        {"addcmul", "addcdiv", "lerp", "baddbmm", "addbmm", "addmm", "dot", "_trilinear"}
    )
    torch.testing.assert_close(execution.tensor(execution.outputs["output"]), model(x))


def test_an_affine_map_stays_one_op() -> None:
    weight = torch.randn(2, 4, 4)
    assert names(record(lambda x: torch.baddbmm(weight, x, weight), torch.randn(2, 4, 4))) == {"baddbmm"}
    assert names(record(lambda x: torch.baddbmm(x, x, weight), torch.randn(2, 4, 4))) == {"add", "bmm"}


@pytest.mark.guarantee("no switch of torch is turned while tracing: another thread runs its model as ever")
def test_no_switch_of_torch_is_turned() -> None:
    """Seen from inside the model, where any switch would be turned."""
    seen: list[Any] = []

    def state() -> tuple[Any, ...]:
        return (
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.mkldnn.enabled,
        )

    def model(x: Tensor) -> Tensor:
        thread = threading.Thread(target=lambda: seen.append(state()))
        thread.start()
        thread.join()
        seen.append(state())
        return x * 2

    record(model, torch.ones(1, 2))
    assert set(seen) == {state()}


def test_gradients_go_through_what_was_taken_apart() -> None:
    """The recorder gives autograd what the fused op would keep for its way back."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 8, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        execution = record(model, x, graph=True)
    assert all(execution.tensor(value).requires_grad for value in execution.outputs.values())


@pytest.mark.parametrize("tokens", [torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 4], [0, 1]])])
def test_gradients_go_through_look_ups(tokens: Tensor) -> None:
    table = nn.Embedding(5, 3)
    execution = record(lambda ids: table(ids.t()).sum(0) * 2, tokens, graph=True)
    (gradient,) = torch.autograd.grad(execution.tensor(execution.outputs["output"]).sum(), [table.weight])
    (expected,) = torch.autograd.grad((table(tokens) * 2).sum(), [table.weight])
    torch.testing.assert_close(gradient, expected)
