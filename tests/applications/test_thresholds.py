"""Choosing θ: tables, bounds, quantiles, and the exact curve against a sweep of Boolean evaluations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import rules
from provnet.applications import thresholds
from provnet.applications.contrast import contrast
from provnet.errors import OptionError, UnsupportedOperationError
from tests.nets import seeded


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return provnet.trace(seeded(net), x)


def boolean(circuit: provnet.Circuit, theta: Any, **options: Any) -> Tensor:
    return circuit.evaluate("boolean", 1, annotation=theta, **options).inputs


@pytest.mark.guarantee("the Bottleneck curve gives the exact share of relevant neurons at every threshold")
def test_curve_equals_a_sweep(circuit: provnet.Circuit):
    found = thresholds.curve(circuit, 1)
    for theta in [1e-9, *found.thetas[::7].tolist(), float(found.thetas[-1]), 0.0371, 2 * float(found.thetas[-1])]:
        swept = boolean(circuit, provnet.annotations.Threshold(theta)).double().mean()
        assert found.at(theta) == pytest.approx(float(swept), abs=1e-12)
    assert next(iter(found))[1] == float(found.fractions[0])


def test_knee_of_a_curve_with_a_corner():
    """One that stays up until θ = 1e-2 and then falls at once has its knee there."""
    theta = torch.logspace(-4, 0, 41, dtype=torch.float64)
    share = torch.where(theta <= 1e-2 * (1 + 1e-9), 1 - 0.02 * torch.arange(41) / 40, 0.3 - 0.2 * torch.arange(41) / 40)
    assert thresholds.Curve(theta, share).knee() == pytest.approx(1e-2, rel=0.3)
    with pytest.raises(OptionError, match="three"):
        thresholds.Curve(theta[:2], share[:2]).knee()


def test_density(circuit: provnet.Circuit):
    theta = thresholds.target_density(circuit, 0.5, 1)
    share = float(boolean(circuit, theta).double().mean())
    assert share >= 0.5
    above = torch.nextafter(torch.tensor(theta.theta, dtype=torch.float64), torch.tensor(9.0, dtype=torch.float64))
    assert float(boolean(circuit, type(theta)(float(above))).double().mean()) < 0.5
    with pytest.raises(OptionError, match="no θ"):
        thresholds.target_density(circuit, 1.5, 1)


@pytest.mark.guarantee("θ = 1/n loses no neuron's relevance: the target still reaches an input or a bias")
@pytest.mark.parametrize("rule", ["zero", "zplus", "wsquare", "flat", "absolute"])
def test_conservative(circuit: provnet.Circuit, rule: str):
    result = circuit.evaluate("boolean", 1, rule, thresholds.conservative(circuit))
    report = result.conservation()
    reached = torch.stack([result.inputs.flatten(1).any(1), *result.bias.values()]).any(0)
    assert bool(reached.all())
    for layer in report.layers:
        assert torch.equal(layer.came, layer.given), layer.path


def test_quantile(circuit: provnet.Circuit):
    theta = thresholds.quantile(circuit, 0.75)
    for path in ("0", "4"):
        d = circuit.evaluate("counting", 1, annotation=theta, at="*")
        assert d.inputs.shape == (4, 1, 6, 6)
        index = [block.path for block in circuit.session.data.blocks].index(path)
        values = torch.cat(list(thresholds.coefficients(circuit.session.workspace(torch.float64), index, rules.Zero())))
        assert abs(float((values >= theta.at(path).theta).double().mean()) - 0.25) < 0.01
    with pytest.raises(OptionError, match="not in"):
        thresholds.quantile(circuit, 1.0)


def test_by_depth(circuit: provnet.Circuit):
    theta = thresholds.by_depth(circuit, [0.1, 0.2])
    assert (theta.at("0").theta, theta.at("4").theta, theta.at("2").theta) == (0.1, 0.2, 1e-9)
    with pytest.raises(OptionError, match="2 linear maps"):
        thresholds.by_depth(circuit, [0.1])
    assert len(thresholds.VGG16_BOOLEAN) == len(thresholds.VGG16_COUNTING) == 16


class Vgg(nn.Module):
    """The geometry of VGG-16 at 224 pixels, a channel a layer, so that it is traced in no time."""

    def __init__(self) -> None:
        super().__init__()
        counts = (2, 2, 3, 3, 3)
        self.stages = nn.ModuleList([nn.ModuleList([nn.Conv2d(1, 1, 3, padding=1) for _ in range(n)]) for n in counts])
        self.dense = nn.Sequential(nn.Linear(49, 2), nn.Linear(2, 2), nn.Linear(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            for layer in stage:  # type: ignore[union-attr]
                x = layer(x).relu()
            x = nn.functional.max_pool2d(x, 2)
        return self.dense(x.flatten(1))


def test_kernel_size_formula():
    """The numbers that the authors' formula gives for VGG-16, in the order of its layers."""
    wanted = [0.10361646, 0.10381646, 0.09708499, 0.09728499, 0.09055352, 0.09075352, 0.09095352, 0.08422205]
    wanted += [0.08442205, 0.08462205, 0.07789057, 0.07809057, 0.27829057, 0.03155910, 0.0123, 0.0125]
    circuit = provnet.trace(seeded(Vgg), torch.rand(1, 1, 224, 224, dtype=torch.float64))
    theta = thresholds.kernel_size(circuit)
    assert list(theta.by_path.values()) == pytest.approx(wanted, abs=1e-7)
    shown = circuit.plan(rules.VGG16(0, 1), "boolean", thresholds.by_depth(circuit, thresholds.VGG16_BOOLEAN))
    taken = [(row.rule, row.annotation) for row in shown if "conv" in row.op or "addmm" in row.op]
    assert taken[0] == (repr(rules.ZBox(0, 1)), "Threshold(0.05)")
    assert taken[6] == (repr(rules.Gamma(0.25, stabilizer=1e-9)), "Threshold(0.06)")
    assert taken[12] == (repr(rules.Epsilon(1e-9, literal=True, rms=0.25)), "Threshold(0.3)")
    assert taken[15] == (repr(rules.Epsilon(1e-9, literal=True)), "Threshold(0.0145)")


def test_plot(circuit: provnet.Circuit):
    pytest.importorskip("matplotlib")
    figure = thresholds.curve(circuit, 1).plot()
    assert figure.axes[0].get_xscale() == "log"


def test_contrast(circuit: provnet.Circuit):
    """In Real it is the relevance of a weighting, in Boolean the set difference."""
    weighting = torch.zeros(4, 3, dtype=torch.float64)
    weighting[:, 2], weighting[:, 0] = 1, -1
    found = contrast(circuit, 2, 0)
    assert torch.allclose(found.more, circuit.evaluate("real", weighting).inputs, rtol=0, atol=1e-12)
    assert torch.equal(found.more, -found.less)
    sets = contrast(circuit, 2, 0, "boolean", annotation=provnet.annotations.Threshold())
    assert torch.equal(sets.more, sets.target & ~sets.against)
    with pytest.raises(UnsupportedOperationError, match="monus"):
        contrast(circuit, 2, 0, provnet.semirings.make(torch.add, torch.mul, 0.0, 1.0, name="mine"))


@pytest.mark.guarantee("the curve of shares is what Boolean says at every θ, from one pass in Fuzzy")
def test_the_curve_of_shares_is_boolean_at_every_threshold(circuit: provnet.Circuit):
    found = thresholds.curve(circuit, 1, of="share")
    assert float(found.thetas[0]) > 0
    assert float(found.thetas[-1]) <= 1
    middles = (found.thetas[1:] + found.thetas[:-1]) / 2
    for theta in (*found.thetas[::7].tolist(), *middles[::11].tolist()):
        annotation = provnet.annotations.Threshold(theta, of="share")
        inputs = circuit.evaluate("boolean", 1, annotation=annotation).inputs
        assert found.at(theta) == float(inputs.double().mean())
    half = thresholds.target_density(circuit, 0.5, 1, of="share")
    assert half.of == "share"
    assert float(circuit.evaluate("boolean", 1, annotation=half).inputs.double().mean()) >= 0.5
    with pytest.raises(OptionError, match="'coefficient' or of the 'share'"):
        thresholds.curve(circuit, 1, of="part")  # type: ignore[arg-type]
