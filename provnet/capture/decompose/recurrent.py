"""Fused recurrent layers step by step: linear maps, their sum, sigmoid, tanh and products.

Sources: Hochreiter and Schmidhuber 1997 (LSTM, with gates i, f, g, o); Cho et al. 2014 (GRU, with
gates r, z, n); Sak et al. 2014 (projections). Equations as in torch.nn.LSTM, torch.nn.GRU and torch.nn.RNN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from provnet.errors import TraceError

aten = torch.ops.aten
State = tuple[Tensor, ...]
"""(h,), or (h, c) of an LSTM, each [batch, hidden]."""
RELU, TANH, LSTM, GRU = range(4)
"""The kinds of recurrent layers, by the numbers that oneDNN and cuDNN give them."""


# --- cells: pre-activations of both parts -> the next state ----------------------------------------------------------


def lstm_state(gates_in: Tensor, gates_hidden: Tensor, state: State) -> State:
    """c' = σ(f)⊙c + σ(i)⊙tanh g, h' = σ(o)⊙tanh c'. The pre-activations are [batch, 4 hidden]."""
    i, f, g, o = (gates_in + gates_hidden).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_state(gates_in: Tensor, gates_hidden: Tensor, state: State) -> State:
    """n = tanh(n_in + σ(r)⊙n_h), h' = n + σ(z)⊙(h - n). The pre-activations are [batch, 3 hidden]."""
    (r_in, z_in, n_in), (r_h, z_h, n_h) = gates_in.chunk(3, -1), gates_hidden.chunk(3, -1)
    r, z = (r_in + r_h).sigmoid(), (z_in + z_h).sigmoid()
    n = (n_in + r * n_h).tanh()
    return (n + z * (state[0] - n),)


def tanh_state(gates_in: Tensor, gates_hidden: Tensor, state: State) -> State:
    """h' = tanh(x part + h part)."""
    return ((gates_in + gates_hidden).tanh(),)


def relu_state(gates_in: Tensor, gates_hidden: Tensor, state: State) -> State:
    """h' = relu(x part + h part)."""
    return ((gates_in + gates_hidden).relu(),)


CELLS: dict[int, Callable[[Tensor, Tensor, State], State]] = {
    RELU: relu_state,
    TANH: tanh_state,
    LSTM: lstm_state,
    GRU: gru_state,
}


# --- one direction of one layer --------------------------------------------------------------------------------------


def one_direction(
    steps: Sequence[Tensor], weights: Sequence[Tensor | None], state: State, mode: int, reverse: bool
) -> tuple[list[Tensor], State]:
    """Return the output of every step, and the last state.

    steps    the input at each time, [examples at that time, in]: of packed sequences the longest comes first.
    weights  w_in, w_hidden, then b_in, b_hidden, or None for each, then w_projection or nothing.
    """
    w_in, w_hidden, b_in, b_hidden, *projection = weights
    assert w_in is not None and w_hidden is not None
    gates = [F.linear(step, w_in, b_in) for step in steps]
    outputs: list[Tensor] = []
    ended: list[State] = []
    first, state = state, state if not reverse else tuple(part[: len(gates[-1])] for part in state)
    for step in reversed(gates) if reverse else gates:
        size, had = step.shape[0], state[0].shape[0]
        if size > had:  # backwards, shorter sequences begin later
            state = tuple(torch.cat([now, new[had:size]]) for now, new in zip(state, first, strict=True))
        elif size < had:
            ended.append(tuple(part[size:] for part in state))
            state = tuple(part[:size] for part in state)
        new = CELLS[mode](step, F.linear(state[0], w_hidden, b_hidden), state)
        hidden = new[0] if not projection else F.linear(new[0], projection[0])  # pyright: ignore[reportArgumentType]
        state = (hidden, *new[1:])
        outputs.append(hidden)
    if ended:
        parts = (state, *reversed(ended))
        state = tuple(torch.cat([part[i] for part in parts]) for i in range(len(state)))
    return outputs[::-1] if reverse else outputs, state


# --- the ops ---------------------------------------------------------------------------------------------------------


def mkldnn_layer(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """oneDNN's kernel, one direction of one layer: x [time, batch, in] -> (output, h, c).

    Raises: `TraceError` for a kind of layer that oneDNN did not have when this was written.
    """
    if mode not in CELLS:
        raise TraceError(
            f"a fused recurrent layer of kind {mode}, which is unknown: keep its module whole with opaque=."
        )
    state = tuple(part.reshape(-1, part.shape[-1]) for part in ((hx, cx) if mode == LSTM else (hx,)))
    outputs, state = one_direction(x.unbind(0), (w_in, w_hidden, b_in, b_hidden), state, mode, reverse)
    last = [part.reshape(hx.shape) for part in state]
    return torch.stack(outputs), last[0], last[1] if mode == LSTM else cx


def cudnn_layers(
    x: Tensor,
    weight: Sequence[Tensor],
    weight_stride0: int,
    weight_buf: Tensor | None,
    hx: Tensor,
    cx: Tensor | None,
    mode: int,
    hidden_size: int,
    proj_size: int,
    num_layers: int,
    batch_first: bool,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_sizes: Sequence[int],
    dropout_state: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """cuDNN's kernel, all layers: x [time, batch, in], batch first, or packed [steps, in] -> (output, h, c).

    `weight` lists w_in, w_hidden, b_in, b_hidden and w_projection, as far as there are any, for each layer and
    direction.
    """
    packed, directions = bool(batch_sizes), 2 if bidirectional else 1
    steps = list(x.split(list(batch_sizes))) if packed else list(x.unbind(1 if batch_first else 0))
    last: list[State] = []
    for layer in range(num_layers):
        found: list[list[Tensor]] = []
        for direction in range(directions):
            place = layer * directions + direction
            own: list[Tensor | None] = list(weight[place * weight_stride0 : (place + 1) * weight_stride0])
            if weight_stride0 in (2, 3):  # no biases
                own[2:2] = [None, None]
            state = (hx[place],) if cx is None or mode != LSTM else (hx[place], cx[place])
            outputs, state = one_direction(steps, own, state, mode, direction == 1)
            found.append(outputs)
            last.append(state)
        steps = [torch.cat(parts, -1) if directions == 2 else parts[0] for parts in zip(*found, strict=True)]
    output = torch.cat(steps) if packed else torch.stack(steps, 1 if batch_first else 0)
    h = torch.stack([state[0] for state in last])
    return output, h, torch.stack([state[1] for state in last]) if mode == LSTM else h.new_empty(0)


def lstm_cell(
    gates_in: Tensor, gates_hidden: Tensor, cx: Tensor, b_in: Tensor | None = None, b_hidden: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The fused cell that CUDA uses: pre-activations of both parts [batch, 4 hidden] -> (h, c)."""
    gates_in = gates_in if b_in is None else gates_in + b_in
    gates_hidden = gates_hidden if b_hidden is None else gates_hidden + b_hidden
    h, c = lstm_state(gates_in, gates_hidden, (cx, cx))
    return h, c


def gru_cell(
    gates_in: Tensor, gates_hidden: Tensor, hx: Tensor, b_in: Tensor | None = None, b_hidden: Tensor | None = None
) -> Tensor:
    """The fused cell that CUDA uses: pre-activations of both parts [batch, 3 hidden] -> h."""
    gates_in = gates_in if b_in is None else gates_in + b_in
    gates_hidden = gates_hidden if b_hidden is None else gates_hidden + b_hidden
    return gru_state(gates_in, gates_hidden, (hx,))[0]


TABLE: dict[Any, Callable[..., Any]] = {
    aten.mkldnn_rnn_layer.default: mkldnn_layer,
    aten._cudnn_rnn.default: cudnn_layers,
    aten._thnn_fused_lstm_cell.default: lstm_cell,
    aten._thnn_fused_gru_cell.default: gru_cell,
}
