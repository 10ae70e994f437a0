"""Recurrent networks, state spaces, and sequences of different lengths."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.zoo.entries import entry, tokens

FUSED = 1e-5


class Last(nn.Module):
    """The last step of a recurrent layer, and the last states."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output, state = self.rnn(x)
        return output[:, -1], (state[0] if isinstance(state, tuple) else state).transpose(0, 1)


@entry(FUSED)
def lstm() -> Any:
    return Last(nn.LSTM(3, 4, batch_first=True)), (torch.randn(2, 5, 3),)


@entry(FUSED)
def lstm_bidirectional() -> Any:
    return Last(nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)), (torch.randn(2, 4, 3),)


@entry(FUSED)
def lstm_projected() -> Any:
    return Last(nn.LSTM(3, 4, proj_size=2, batch_first=True, bias=False)), (torch.randn(2, 4, 3),)


@entry()
def gru() -> Any:
    return Last(nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True)), (torch.randn(2, 4, 3),)


@entry()
def elman() -> Any:
    return Last(nn.RNN(3, 4, nonlinearity="relu", batch_first=True)), (torch.randn(2, 4, 3),)


@entry()
def cells() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.gru, self.rnn = nn.LSTMCell(3, 4), nn.GRUCell(4, 4), nn.RNNCell(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            h, c, g, r = (x.new_zeros(x.shape[0], 4) for _ in range(4))
            for step in x.unbind(1):
                h, c = self.lstm(step, (h, c))
                g = self.gru(h, g)
                r = self.rnn(g, r)
            return r

    return Net(), (torch.randn(2, 3, 3),)


class Packed(nn.Module):
    """Tokens of different lengths, packed, bidirectional; the mean over the steps that there are."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 3, padding_idx=0)
        self.rnn = kind(3, 4, bidirectional=True, batch_first=True)  # pyright: ignore[reportCallIssue]
        self.head = nn.Linear(8, 2)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(tokens), lengths, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        mean = output.sum(1) / lengths[:, None]
        last = output.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, 8)).squeeze(1)
        return self.head(mean + last)


@entry(0.0, ("tokens",))
def packed_lstm() -> Any:
    ids, lengths = tokens(3, 5, 11), torch.tensor([3, 5, 2])
    return Packed(nn.LSTM), (ids * (torch.arange(5) < lengths[:, None]), lengths)


@entry(0.0, ("tokens",))
def packed_gru() -> Any:
    ids, lengths = tokens(3, 5, 11), torch.tensor([3, 5, 2])
    return Packed(nn.GRU), (ids * (torch.arange(5) < lengths[:, None]), lengths)


@entry(FUSED, ("source_ids", "target_ids"))
def sequence_to_sequence() -> Any:
    """An LSTM encoder, a decoder that attends to it (Bahdanau's additive attention)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.encode = nn.Embedding(11, 4), nn.LSTM(4, 4, batch_first=True)
            self.decode, self.query, self.key = nn.LSTMCell(8, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.score, self.out = nn.Linear(4, 1), nn.Linear(4, 11)

        def forward(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
            memory, (h, c) = self.encode(self.embed(source_ids))
            h, c, logits = h[0], c[0], []
            for step in self.embed(target_ids).unbind(1):
                weights = self.score(torch.tanh(self.query(h)[:, None] + self.key(memory))).softmax(1)
                h, c = self.decode(torch.cat([step, (weights * memory).sum(1)], -1), (h, c))
                logits.append(self.out(h))
            return torch.stack(logits, 1)

    return Net(), (tokens(2, 4, 11), tokens(2, 3, 11))


@entry(0.0, ("input_ids",))
def mamba_by_hand() -> Any:
    """A selective state space: causal depthwise convolution, softplus steps, exponentials, a scan, a SiLU gate."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.into, self.norm = nn.Embedding(11, 4), nn.Linear(4, 12, bias=False), nn.RMSNorm(4)
            self.conv, self.project = nn.Conv1d(6, 6, 3, padding=2, groups=6), nn.Linear(6, 5, bias=False)
            self.step, self.log_a = nn.Linear(1, 6), nn.Parameter(torch.rand(6, 2))
            self.d, self.out = nn.Parameter(torch.ones(6)), nn.Linear(6, 4, bias=False)

        def forward(self, input_ids: Tensor) -> Tensor:
            hidden = self.embed(input_ids)
            x, gate = self.into(self.norm(hidden)).chunk(2, -1)
            x = F.silu(self.conv(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
            delta, b, c = self.project(x).split([1, 2, 2], -1)
            delta = F.softplus(self.step(delta))
            decay = torch.exp(delta[..., None] * -torch.exp(self.log_a))
            drive = delta[..., None] * b[:, :, None, :] * x[..., None]
            state, steps = torch.zeros_like(drive[:, 0]), []
            for t in range(x.shape[1]):
                state = decay[:, t] * state + drive[:, t]
                steps.append((state * c[:, t, None, :]).sum(-1))
            return hidden + self.out((torch.stack(steps, 1) + x * self.d) * F.silu(gate))

    return Net(), (tokens(2, 4, 11),)


@entry()
def highway_and_glu() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.value, self.pair, self.glu = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 8), nn.GLU()

        def forward(self, x: Tensor) -> Tensor:
            t = torch.sigmoid(self.gate(x))
            return self.glu(self.pair(t * F.relu(self.value(x)) + (1 - t) * x))

    return Net(), (torch.randn(2, 4),)
