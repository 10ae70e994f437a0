"""Models as people write them who know torch and not provnet: every active node has a rule, and the numbers hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import provnet
from provnet.applications.coverage import coverage
from tests.zoo.newcomers import NEWCOMERS


class Block(nn.Module):
    """A residual block of a diffusion model: group norms, and a time embedding that scales and shifts."""

    def __init__(self, channels_in: int, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(2, channels_in), nn.GroupNorm(2, channels)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(embedding, 2 * channels)
        self.skip = nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(F.silu(t))[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.conv2(F.silu(h)) + self.skip(x)


class Diffusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 6))
        self.into, self.out = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
        self.first, self.middle, self.last = Block(4, 4, 6), Block(4, 4, 6), Block(8, 4, 6)
        self.down, self.up = nn.Conv2d(4, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 4, 2, 1)
        self.norm, self.qkv, self.proj = nn.GroupNorm(2, 4), nn.Conv1d(4, 12, 1), nn.Conv1d(4, 4, 1)

    def attend(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        q, k, v = self.qkv(self.norm(flat)).chunk(3, dim=1)
        weights = torch.einsum("bct,bcs->bts", q, k).mul(0.5).softmax(-1)
        return (flat + self.proj(torch.einsum("bts,bcs->bct", weights, v))).reshape(x.shape)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angles = t[:, None] * torch.exp(-math.log(100) * torch.arange(2, dtype=t.dtype) / 2)
        t = self.time(torch.cat([angles.cos(), angles.sin()], dim=-1))
        skip = self.first(self.into(x), t)
        h = self.up(self.attend(self.middle(self.down(skip), t)))
        return self.out(self.last(torch.cat([h, skip], dim=1), t))


class Perceiver(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(2, 4))
        self.cross = nn.MultiheadAttention(4, 2, kdim=3, vdim=3, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation="gelu", norm_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        latents = self.latents.unsqueeze(0).expand(x.size(0), -1, -1)
        latents = latents + self.cross(latents, x, x, need_weights=False)[0]
        return self.head(self.layer(self.layer(latents)).mean(1))


class Recurrence(nn.Module):
    """RWKV's token shift, its recurrence of weighted values, and squared ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(3), nn.LayerNorm(3)
        self.mix, self.decay, self.bonus = (nn.Parameter(torch.rand(3)) for _ in range(3))
        self.k, self.v, self.r = (nn.Linear(3, 3, bias=False) for _ in range(3))
        self.up, self.down = nn.Linear(3, 5, bias=False), nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        before = F.pad(h, (0, 0, 1, -1))
        k, v = self.k(h * self.mix + before * (1 - self.mix)), self.v(h)
        above = below = torch.zeros_like(k[:, 0])
        steps = []
        for t in range(x.shape[1]):
            now = torch.exp(self.bonus + k[:, t])
            steps.append((above + now * v[:, t]) / (below + now))
            above = torch.exp(-self.decay) * above + torch.exp(k[:, t]) * v[:, t]
            below = torch.exp(-self.decay) * below + torch.exp(k[:, t])
        x = x + torch.sigmoid(self.r(h)) * torch.stack(steps, dim=1)
        hidden = torch.relu(self.up(self.norm2(x)))
        return (x + self.down(hidden * hidden))[:, -1]


class Audio(nn.Module):
    """A waveform that is normalised, a gated convolution, and statistics pooled by attention."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.gate, self.depth = nn.Conv1d(1, 4, 5, 3), nn.Conv1d(4, 8, 1), nn.Conv1d(4, 4, 3, 1, 1, 1, 4)
        self.norm, self.score, self.head = nn.BatchNorm1d(4), nn.Linear(4, 1), nn.Linear(8, 2)

    def forward(self, wave: Tensor) -> Tensor:
        wave = (wave - wave.mean(-1, keepdim=True)) / (wave.std(-1, keepdim=True) + 1e-5)
        x = torch.log1p(self.front(wave.unsqueeze(1)).abs())
        x = (x + F.silu(self.norm(self.depth(F.glu(self.gate(x), dim=1))))).transpose(1, 2)
        weights = self.score(torch.tanh(x)).softmax(1)
        mean = (weights * x).sum(1)
        spread = torch.sqrt(((weights * x * x).sum(1) - mean * mean).clamp(min=1e-6))
        return self.head(torch.cat([mean, spread], dim=-1))


class Table(nn.Module):
    """Columns as tokens, crossed features, and a factorisation machine."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3, 4))
        self.start, self.factors = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(3, 2))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), 1)
        self.cross, self.head = nn.Linear(3, 3), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.cat([self.start.expand(len(x), -1, -1), x[..., None] * self.weight + self.bias], dim=1)
        crossed = x * self.cross(x) + x
        pairs = 0.5 * ((x @ self.factors).pow(2) - x.pow(2) @ self.factors.pow(2)).sum(-1, keepdim=True)
        return self.head(torch.cat([self.encoder(rows)[:, 0], crossed, pairs], dim=-1))


class ChannelsFirst(nn.Module):
    """A norm over the channels as ConvNeXt writes it, the response norm of its second version, and a layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.gain, self.scale = nn.Parameter(torch.rand(8)), nn.Parameter(0.1 * torch.ones(4))
        self.stem, self.depth = nn.Conv2d(1, 4, 2, 2), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.up, self.down, self.head = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = self.weight[:, None, None] * ((x - mean) / torch.sqrt(variance + 1e-6)) + self.bias[:, None, None]
        h = F.gelu(self.up(self.depth(x).permute(0, 2, 3, 1)))
        size = torch.norm(h, p=2, dim=(1, 2), keepdim=True)
        h = self.gain * (h * (size / (size.mean(dim=-1, keepdim=True) + 1e-6))) + h
        x = x + (self.scale * self.down(h)).permute(0, 3, 1, 2)
        return self.head((x * torch.sigmoid(1.702 * x)).mean((2, 3)))


STRANGERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "diffusion": (Diffusion, lambda: (torch.randn(2, 1, 4, 4), torch.rand(2))),
    "perceiver": (Perceiver, lambda: (torch.randn(2, 3, 3),)),
    "recurrence": (Recurrence, lambda: (torch.randn(2, 3, 3),)),
    "audio": (Audio, lambda: (torch.randn(2, 20),)),
    "table": (Table, lambda: (torch.randn(3, 3),)),
    "channels first": (ChannelsFirst, lambda: (torch.randn(2, 1, 4, 4),)),
    **NEWCOMERS,
}


@pytest.mark.guarantee("models that nobody wrote for provnet are covered, differentiated as by autograd, and conserve")
@pytest.mark.parametrize("name", STRANGERS)
def test_strangers(name: str) -> None:
    make, given = STRANGERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net: Any = make().double().eval()
        args = tuple(tensor.double() for tensor in given())
    table = coverage(net, *args)
    assert table.covered == table.nodes
    circuit = provnet.trace(net, *args)
    weighting = torch.linspace(-1, 1, circuit.outputs[0].numel(), dtype=torch.float64).reshape(circuit.outputs[0].shape)
    leaves = [tensor.clone().requires_grad_() for tensor in args]
    wanted = torch.autograd.grad((net(*leaves) * weighting).sum(), leaves)
    found = circuit.evaluate("real", weighting, rule="gradient")
    for source, slope in zip(circuit.sources, wanted, strict=True):
        torch.testing.assert_close(found[source], slope, rtol=1e-9, atol=1e-10)
    assert circuit.evaluate("real", weighting).conservation().residual() < 1e-9
    annotation = provnet.annotations.Threshold(0.0)
    place = (0,) * (circuit.outputs[0].dim() - 1)
    boolean, counts = (circuit.evaluate(s, place, annotation=annotation) for s in ("boolean", "counting"))
    for source in circuit.sources:
        assert torch.equal(boolean[source], counts[source] > 0)
