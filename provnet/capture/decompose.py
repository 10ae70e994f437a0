"""Fused ops taken apart into those that have rules. They run inside the recorder, so their parts are recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from provnet.errors import TraceError

aten = torch.ops.aten
_LSTM = 2  # the number of LSTM among the kinds of recurrent layers that oneDNN knows


def lstm_layer(
    x: Tensor,
    w_in: Tensor,
    w_hidden: Tensor,
    b_in: Tensor,
    b_hidden: Tensor,
    hx: Tensor,
    cx: Tensor,
    reverse: bool,
    batch_sizes: Any,
    mode: int,
    *_rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One direction of one LSTM layer, step by step: x [time, batch, in] -> (output, h, c, workspace).

    Raises: `TraceError` for another kind of layer. Source: Hochreiter and Schmidhuber 1997, with gates i, f, g, o as in
    torch.nn.LSTM.
    """
    if mode != _LSTM:
        raise TraceError("a fused recurrent layer that is no LSTM: keep its module whole with opaque=.")
    h, c = hx.reshape(-1, hx.shape[-1]), cx.reshape(-1, cx.shape[-1])
    gates_in = torch.nn.functional.linear(x, w_in, b_in)
    outputs: list[Tensor] = []
    for step in reversed(gates_in.unbind(0)) if reverse else gates_in.unbind(0):
        i, f, g, o = (step + torch.nn.functional.linear(h, w_hidden, b_hidden)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    output = torch.stack(outputs[::-1] if reverse else outputs)
    return output, h.reshape(hx.shape), c.reshape(cx.shape), x.new_empty(0, dtype=torch.uint8)


def lstm_cell(
    gates_in: Tensor, gates_hidden: Tensor, cx: Tensor, b_in: Tensor | None = None, b_hidden: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The fused cell that CUDA uses: pre-activations of both parts [batch, 4 hidden] -> (h, c, workspace)."""
    for bias in (b_in, b_hidden):
        gates_in = gates_in if bias is None else gates_in + bias
    gates = gates_in + gates_hidden
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * cx + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c, gates


def gru_cell(
    gates_in: Tensor, gates_hidden: Tensor, hx: Tensor, b_in: Tensor | None = None, b_hidden: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The fused cell that CUDA uses: pre-activations of both parts [batch, 3 hidden] -> (h, workspace)."""
    gates_in = gates_in if b_in is None else gates_in + b_in
    gates_hidden = gates_hidden if b_hidden is None else gates_hidden + b_hidden
    (r_in, z_in, n_in), (r_h, z_h, n_h) = gates_in.chunk(3, -1), gates_hidden.chunk(3, -1)
    r, z = (r_in + r_h).sigmoid(), (z_in + z_h).sigmoid()
    n = (n_in + r * n_h).tanh()
    return n + z * (hx - n), gates_in


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """The first half of `x` along `dim`, gated by the second."""
    value, gate = x.chunk(2, dim)
    return value * gate.sigmoid()


DECOMPOSED: dict[Any, Callable[..., Any]] = {
    aten.mkldnn_rnn_layer.default: lstm_layer,
    aten._thnn_fused_lstm_cell.default: lstm_cell,
    aten._thnn_fused_gru_cell.default: gru_cell,
    aten.glu.default: glu,
}
