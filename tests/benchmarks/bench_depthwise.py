"""Depthwise convolutions against the network's own passes. `python -m tests.benchmarks.bench_depthwise`

MobileNetV2 at 224 x 224 with random weights, batch 1, single precision: 17 blocks that widen by 1 x 1 convolutions, see
3 x 3 neighbours channel by channel, and narrow by another. Ratios of medians, all ways in turn; the circuit is traced
before. Targets: real / (forward + gradient) at most 2.5, Boolean / forward at most 12. JSON lines on stdout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import provnet
from provnet.semirings.counting import Counting
from tests.benchmarks.clock import interleaved, report

ROUNDS = 5
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""How much wider inside, channels, blocks, and the first one's stride ([San18], table 2)."""
ASKED: dict[str, Any] = {"real": "real", "boolean": "boolean", "viterbi": "viterbi", "counting": Counting("float64")}


def step(channels: int, wide: int, size: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    found = [nn.Conv2d(channels, wide, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(wide)]
    return nn.Sequential(*found, *([nn.ReLU6()] if act else []))


class Inverted(nn.Module):
    """Widen, look at neighbours channel by channel, narrow; the input is added where its shape is the output's."""

    def __init__(self, channels: int, out: int, factor: int, stride: int) -> None:
        super().__init__()
        wide = channels * factor
        first = [step(channels, wide, 1)] if factor > 1 else []
        self.steps = nn.Sequential(*first, step(wide, wide, 3, stride, wide), step(wide, out, 1, act=False))
        self.adds = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.steps(x) if self.adds else self.steps(x)


def mobilenet_v2() -> nn.Module:
    """Return MobileNetV2 in evaluation."""
    torch.manual_seed(0)
    steps: list[nn.Module] = [step(3, 32, 3, 2)]
    channels = 32
    for factor, out, blocks, stride in STAGES:
        for number in range(blocks):
            steps.append(Inverted(channels, out, factor, stride if number == 0 else 1))
            channels = out
    model = nn.Sequential(*steps, step(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def forward(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return x * torch.autograd.grad(model(leaf)[:, 3].sum(), leaf)[0]


def main() -> None:
    model, x = mobilenet_v2(), torch.randn(1, 3, 224, 224)
    circuit = provnet.trace(model, x)
    ways: dict[str, Callable[[], Any]] = {
        "forward": partial(forward, model, x),
        "gradient": partial(gradient, model, x),
    }
    ways |= {name: partial(circuit.evaluate, given, 3) for name, given in ASKED.items()}
    taken = interleaved(ways, ROUNDS)
    report(
        "mobilenet_v2, evaluation",
        forward_ms=taken["forward"] * 1e3,
        real_times_gradient=taken["real"] / taken["gradient"],
        **{f"{name}_times_forward": taken[name] / taken["forward"] for name in ASKED},
    )


if __name__ == "__main__":
    main()
