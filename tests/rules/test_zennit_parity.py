"""Every rule against zennit, in float64, at every module, where the conventions agree.

They agree with a stabiliser of 1e-6, the bias in the denominator and its share dropped, batch norms merged, sums and
average poolings by Norm. Source of the other side: zennit 1.0, a test oracle only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import rules
from tests.nets import seeded
from tests.rules.zennit_oracle import attribute, load, with_composite

TOLERANCE = 1e-10
"""Of the largest relevance at the module."""


class Joined(nn.Module):
    """x + y as a module of its own, as zennit wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = load()["layer"].Sum()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.sum(torch.stack([x, y], dim=-1))


class ResidualNet(nn.Module):
    """Two convolutions with merged batch norms around a skip, an average pooling, a dense layer: [2, 6, 6] -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.conv2, self.norm2, self.relu2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        self.joined = Joined()
        self.pool = nn.AvgPool2d(2)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(x))
        return self.head(self.flatten(self.pool(self.relu2(self.joined(x, y)))))


def perceptron() -> nn.Module:
    """A perceptron whose activations take both signs."""
    return nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5), nn.LeakyReLU(0.3), nn.Linear(5, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 2, padding=1, groups=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "perceptron": (perceptron, (7,)),
    "convolutional": (convolutional, (2, 8, 8)),
    "residual": (ResidualNet, (2, 6, 6)),
}


def case(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = MODELS[name]
    generator = torch.Generator().manual_seed(3)
    return seeded(make, 1), torch.randn(3, *shape, dtype=torch.float64, generator=generator).clamp(-2, 2)


def theirs(
    model: nn.Module, x: Tensor, hook: Callable[[], Any], first: Callable[[], Any] | None = None
) -> dict[str, Tensor]:
    """Return zennit's relevance with one rule for the linear maps (another for the first), and the base for the
    rest."""
    zennit = load()
    norm, passed = zennit["rules"].Norm, zennit["rules"].Pass
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]

    def hook_of(name: str, module: nn.Module) -> Any:
        if name in linear:
            return (first if first is not None and name == linear[0] else hook)()
        if isinstance(module, nn.AvgPool2d) or type(module).__name__ == "Sum":
            return norm()
        return passed() if isinstance(module, nn.ReLU | nn.Tanh | nn.LeakyReLU | nn.BatchNorm2d) else None

    return attribute(model, x, 1, hook_of)


def ours(rule: rules.Rule, first: rules.Rule | None = None) -> rules.Composite:
    entries: dict[Any, Any] = {rules.Kind("linear"): rule}
    if first is not None:
        entries[0] = first
    base = rules.ExcitationBackprop().entries  # for its poolings and sums
    return rules.Composite([*base, *entries.items()])


def compare(model: nn.Module, x: Tensor, rule: rules.Rule, wanted: dict[str, Tensor], route: str = "auto") -> int:
    """Assert that relevance agrees at the input and at every module that has relevance of its own; return how many."""
    circuit = provnet.trace(model, x)
    result = circuit.evaluate("real", 1, rule, route=route)
    compared = 0
    for name, value in wanted.items():
        if name and name not in circuit.session.data.names:
            assert name in circuit.session.data.absent, name  # a convolution that is fused with its batch norm
            continue
        mine = result[name] if name else result.inputs
        assert float((mine - value).abs().max()) <= TOLERANCE * float(value.abs().max()), name
        compared += 1
    return compared


RULES: dict[str, tuple[rules.Rule, str, dict[str, Any]]] = {
    "epsilon": (rules.Epsilon(1e-6), "Epsilon", {"epsilon": 1e-6}),
    "epsilon large": (rules.Epsilon(0.3), "Epsilon", {"epsilon": 0.3}),
    "gamma": (rules.Gamma(0.25, signed=True, stabilizer=1e-6), "Gamma", {"gamma": 0.25}),
    "gamma large": (rules.Gamma(4.0, signed=True, stabilizer=1e-3), "Gamma", {"gamma": 4.0, "stabilizer": 1e-3}),
    "alpha2 beta1": (rules.AlphaBeta(2, 1, stabilizer=1e-6), "AlphaBeta", {"alpha": 2, "beta": 1}),
    "alpha1 beta0": (rules.AlphaBeta(1, 0, stabilizer=1e-6), "AlphaBeta", {"alpha": 1, "beta": 0}),
    "z+": (rules.ZPlus(1e-6), "ZPlus", {}),
    "w2": (rules.WSquare(1e-6), "WSquare", {}),
    "flat": (rules.Flat(1e-6), "Flat", {}),
    "norm": (rules.Norm(1e-6), "Norm", {}),
}


@pytest.mark.guarantee("every rule equals zennit's definition to 1e-10 at every module, in float64")
@pytest.mark.parametrize("route", ["auto", "reference"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", RULES)
def test_rule(model: str, name: str, route: str):
    rule, cls, options = RULES[name]
    net, x = case(model)
    hook = getattr(load()["rules"], cls)
    assert compare(net, x, ours(rule), theirs(net, x, lambda: hook(**options)), route) >= 4


@pytest.mark.guarantee("z^B with bounds per channel equals zennit's to 1e-10")
@pytest.mark.parametrize("model", ["convolutional", "residual"])
def test_box(model: str):
    net, x = case(model)
    low, high = (-2.0, -2.5), (2.0, 2.25)
    zennit = load()["rules"]
    tensors = [torch.tensor(bound, dtype=torch.float64).reshape(1, 2, 1, 1) for bound in (low, high)]
    wanted = theirs(net, x, lambda: zennit.Epsilon(1e-6), first=lambda: zennit.ZBox(*tensors))
    compare(net, x, ours(rules.Epsilon(1e-6), rules.ZBox(*tensors, stabilizer=1e-6)), wanted)
    compare(net, x, ours(rules.Epsilon(1e-6), rules.ZBox(low, high, stabilizer=1e-6)), wanted)


COMPOSITES: dict[str, tuple[rules.Composite, str, dict[str, Any]]] = {
    "EpsilonPlus": (rules.EpsilonPlus(), "EpsilonPlus", {}),
    "EpsilonAlpha2Beta1": (rules.EpsilonAlpha2Beta1(), "EpsilonAlpha2Beta1", {}),
    "EpsilonPlusFlat": (rules.EpsilonPlusFlat(), "EpsilonPlusFlat", {}),
    "EpsilonAlpha2Beta1Flat": (rules.EpsilonAlpha2Beta1Flat(), "EpsilonAlpha2Beta1Flat", {}),
    "EpsilonGammaBox": (rules.EpsilonGammaBox(-2, 2), "EpsilonGammaBox", {"low": -2.0, "high": 2.0}),
}


@pytest.mark.guarantee("the stock composites equal zennit's to 1e-10 at every module")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", COMPOSITES)
def test_composite(model: str, name: str):
    rule, cls, options = COMPOSITES[name]
    net, x = case(model)
    zennit = load()
    composite = getattr(zennit["composites"], cls)(
        **options, canonizers=[zennit["canonizers"].SequentialMergeBatchNorm()]
    )
    assert compare(net, x, rule, with_composite(net, x, 1, composite)) >= 4


def test_a_kept_batch_norm_is_passed_through():
    """Without merging, zennit passes relevance through a batch norm; so does `Pass` where it is kept."""
    net, x = case("convolutional")
    zennit = load()
    wanted = with_composite(net, x, 1, zennit["composites"].EpsilonPlus())
    result = provnet.trace(net, x, batch_norm="kept").evaluate("real", 1, rules.EpsilonPlus())
    for name in ("", "0", "1", "4"):
        mine = result[name] if name else result.inputs
        assert torch.allclose(mine, wanted[name], rtol=0, atol=TOLERANCE * float(wanted[name].abs().max()))


def test_the_gradient_is_torchs():
    net, x = case("residual")
    x = x.requires_grad_()
    (wanted,) = torch.autograd.grad(net(x)[:, 1].sum(), x)
    result = provnet.trace(net, x.detach()).evaluate("real", 1, "gradient")
    assert torch.allclose(result.inputs, wanted, rtol=0, atol=1e-12)
