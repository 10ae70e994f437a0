"""Rules against forward + input gradient, and against zennit, in one process. `python -m tests.benchmarks.bench_rules`.

provnet's times are of the whole way, trace and evaluation. Targets: ε at most 1.1 times forward + gradient, gamma,
alpha-beta and the z^B composite at most 2.5 times. Arguments: vgg, resnet (default: both). zennit is left out where it
is not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import provnet
from provnet import rules
from tests.benchmarks.clock import interleaved, report
from tests.nets import vgg16
from tests.rules.zennit_oracle import modules


class Basic(nn.Module):
    """Two convolutions with batch norms around a skip. Source: He et al. 2016."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.skip = nn.Sequential()
        if before != after:
            self.skip = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))) + self.skip(x))


def resnet18() -> nn.Sequential:
    """ResNet-18 with random weights."""
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*stem, *(Basic(*width) for width in [*widths, (512, 512, 1)]), *tail).eval()


RULES: dict[str, rules.Rule] = {
    "epsilon": rules.Epsilon(1e-6),
    "gamma": rules.Gamma(0.25),
    "gamma signed": rules.Gamma(0.25, signed=True, stabilizer=1e-6),
    "alpha-beta": rules.AlphaBeta(2, 1),
    "z^B composite": rules.EpsilonGammaBox(-3, 3),
}
ZENNIT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "epsilon": lambda z: [z["rules"].Epsilon(1e-6)],
    "gamma signed": lambda z: [z["rules"].Gamma(0.25)],
    "alpha-beta": lambda z: [z["rules"].AlphaBeta(2, 1)],
    "z^B composite": lambda z: z["composites"].EpsilonGammaBox(low=-3.0, high=3.0),
}


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x)[:, 3].sum(), x)[0]


def ours(model: nn.Module, x: Tensor, rule: rules.Rule) -> Tensor:
    return provnet.trace(model, x).evaluate("real", 3, rule).inputs


def theirs(model: nn.Module, x: Tensor, zennit: dict[str, Any], made: Any) -> None:
    """Run a zennit composite; a rule in a list stands for all linear maps, with the base for the rest."""
    merge = [zennit["canonizers"].SequentialMergeBatchNorm()]
    composite = made
    if isinstance(made, list):
        layers = [*zennit["composites"].layer_map_base(), ((nn.Conv2d, nn.Linear), made[0])]
        composite = zennit["composites"].LayerMapComposite(layer_map=layers, canonizers=merge)
    x = x.clone().requires_grad_()
    with composite.context(model) as modified:
        modified(x)[:, 3].sum().backward()
    for parameter in model.parameters():
        parameter.grad = None


def run(name: str, model: nn.Module, rounds: int) -> None:
    x = torch.randn(1, 3, 224, 224).clamp(-3, 3)
    ways: dict[str, Callable[[], Any]] = {"forward + gradient": partial(gradient, model, x)}
    ways |= {f"provnet {rule}": partial(ours, model, x, given) for rule, given in RULES.items()}
    zennit = modules()
    if zennit is not None:
        ways |= {f"zennit {rule}": partial(theirs, model, x, zennit, make(zennit)) for rule, make in ZENNIT.items()}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    taken = interleaved(ways, rounds)
    for way, seconds in taken.items():
        report(name, way=way, ms=seconds * 1e3, times_forward_and_gradient=seconds / taken["forward + gradient"])


if __name__ == "__main__":
    torch.manual_seed(0)
    chosen = sys.argv[1:] or ["resnet", "vgg"]
    if "resnet" in chosen:
        run("ResNet-18, batch 1", resnet18(), 5)
    if "vgg" in chosen:
        run("VGG-16, batch 1", vgg16(), 3)
