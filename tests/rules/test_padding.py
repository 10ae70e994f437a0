"""Padding is what an op padded. A constant that was written out is a neuron which nothing feeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import provnet
from provnet import rules

D = torch.float64
FIRST = torch.tensor([True, False])


def written(x: Tensor) -> Tensor:
    y = torch.zeros(len(x), 3, dtype=D)
    y[:, 1:] = x
    return y


MAXIMA: dict[str, Callable[[Tensor], Tensor]] = {
    "ZeroPad2d": lambda x: nn.MaxPool2d(2)(nn.ZeroPad2d((0, 0, 1, 0))(x.view(-1, 1, 1, 2))).flatten(1),
    "pad": lambda x: F.pad(x, (1, 0)).amax(1, keepdim=True),
    "pad, exp": lambda x: F.pad(x, (1, 0)).amax(1, keepdim=True).exp(),
    "pad, ReLU": lambda x: F.pad(x, (1, 0)).relu().amax(1, keepdim=True),
    "pad, adaptive": lambda x: F.adaptive_max_pool1d(F.pad(x[:, None], (0, 1)), 1).flatten(1),
    "cat": lambda x: torch.cat([torch.zeros(len(x), 1, dtype=D), x], 1).max(1, keepdim=True).values,
    "masked_fill": lambda x: x.masked_fill(FIRST, 0.0).amax(1, keepdim=True).sigmoid(),
    "where": lambda x: torch.where(FIRST, 0.0, x).amax(1, keepdim=True),
    "a write": lambda x: written(x).amax(1, keepdim=True),
    "stack": lambda x: torch.stack([x[:, 0], torch.zeros(len(x), dtype=D)], 1).amax(1, keepdim=True),
    "another constant": lambda x: F.pad(x, (1, 0), value=-0.5).amax(1, keepdim=True),
    "a tiny constant": lambda x: F.pad(x, (1, 0), value=1e-30).amax(1, keepdim=True),
}


@pytest.mark.guarantee("a constant that wins a maximum is a winner that goes nowhere: a sink, and a gradient of zero")
@pytest.mark.parametrize("rule", ["zero", "gradient"])
@pytest.mark.parametrize("name", MAXIMA)
def test_a_constant_that_wins_keeps_the_relevance(name: str, rule: str):
    x = torch.tensor([[-1.0, -2.0], [-3.0, -1.5]], dtype=D)
    circuit = provnet.trace(MAXIMA[name], x)
    found = circuit.evaluate("real", 0, rule)
    assert torch.equal(found.inputs, torch.zeros_like(x))
    report = found.conservation()
    assert report.residual() == 0
    if rule == "zero":
        taken = report.named["constant"] + report.named.get("bias", 0)
        torch.testing.assert_close(taken, torch.ones(2, dtype=D))
        assert bool((report.named["constant"] > 0).all())
    assert not circuit.evaluate("boolean", 0, rule="zero").inputs.any()
    assert not circuit.evaluate("counting", 0, rule="zero").inputs.any()
    gates = circuit.gates(0, batch=0)
    assert all(v == 0 for v in gates.evaluate("real", gates.valuation("real")).values())


def test_padding_of_the_pooling_itself_never_wins():
    x = torch.tensor([[-1.0, -2.0, -3.0, -4.0]], dtype=D)
    pool = lambda x: F.max_pool1d(x[:, None], 3, 2, 1).flatten(1)  # noqa: E731
    assert provnet.trace(pool, x).evaluate("real", 0).inputs.tolist() == [[1, 0, 0, 0]]
    minus = lambda x: F.max_pool1d(F.pad(x[:, None], (1, 1), value=-torch.inf), 3, 2).flatten(1)  # noqa: E731
    for pooling in ("winner", "proportional", "seed"):
        own, out = (provnet.trace(f, x).evaluate("real", 0, pooling=pooling).inputs for f in (pool, minus))
        assert torch.equal(own, out)


RULES = [rules.Zero(), rules.Flat(), rules.WSquare(), rules.ZPlus(), rules.Gamma(0.25), rules.AlphaBeta(2, 1)]


@pytest.mark.guarantee("F.pad and then a convolution gives what padding= gives, under every rule")
@pytest.mark.parametrize("rule", [*RULES, rules.ZBox(-1.0, 1.0), rules.Epsilon(0.1), rules.Gradient()])
def test_padding_before_a_convolution_is_the_convolutions_own(rule: rules.Rule):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1, dtype=D).requires_grad_(False)
    x = torch.rand(2, 2, 4, 4, dtype=D) - 0.5
    bare = lambda x: F.conv2d(x, conv.weight, conv.bias).flatten(1)  # noqa: E731
    own = provnet.trace(lambda x: conv(x).flatten(1), x).evaluate("real", 5, rule).inputs
    for pad in (lambda x: F.pad(x, (1, 1, 1, 1)), nn.ZeroPad2d(1), nn.ConstantPad2d(1, 0.0)):
        found = provnet.trace(lambda x, pad=pad: bare(pad(x)), x).evaluate("real", 5, rule).inputs
        assert torch.allclose(found, own, rtol=1e-12, atol=1e-14)


def test_a_zero_that_was_joined_on_has_its_share_of_a_flat_rule():
    """cat is no padding: under Flat, which looks at no activation, its zero takes what a neuron there would take."""
    x, weight = torch.tensor([[1.0, 2.0]], dtype=D), torch.ones(1, 4, dtype=D)
    for pad, share in (
        (lambda x: torch.cat([x, torch.zeros(1, 2, dtype=D)], 1), 0.25),
        (lambda x: F.pad(x, (0, 2)), 0.5),
    ):
        found = provnet.trace(lambda x, pad=pad: F.linear(pad(x), weight), x).evaluate("real", 0, "flat")
        assert found.inputs.tolist() == [[share, share]]
        assert found.conservation().named["constant"].item() == 1 - 2 * share
