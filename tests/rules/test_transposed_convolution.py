"""Transposed convolutions: contributions listed one by one, autograd, every semiring, files, overlapping windows."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

LAYERS = {
    "doubles": lambda: nn.ConvTranspose2d(4, 3, 2, 2),
    "overlaps": lambda: nn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding=1),
    "strided": lambda: nn.ConvTranspose1d(4, 3, 3, stride=3, padding=1, output_padding=2, bias=False),
    "grouped": lambda: nn.ConvTranspose1d(4, 4, 3, 2, groups=2),
    "dilated": lambda: nn.ConvTranspose1d(4, 2, 2, 2, dilation=3, padding=1),
    "volume": lambda: nn.ConvTranspose3d(4, 1, (1, 2, 2), (1, 2, 1)),
}


def case(name: str) -> tuple[Any, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layer = LAYERS[name]().double()
    space = layer.weight.dim() - 2
    return layer, seeded(90, 2, 4, *(3, 2, 2)[:space])


def listed(layer: Any, x: Tensor, y: Tensor) -> dict[tuple[tuple[int, ...], tuple[int, ...]], Tensor]:
    """Return (input, output) -> a · w for each example, by torch's own definition: the input is spread, tap by tap."""
    weight, groups = layer.weight.detach(), layer.groups
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], Tensor] = {}
    for at in product(*map(range, x.shape[1:])):
        for channel, *taps in product(*map(range, weight.shape[1:])):
            group = at[0] // (x.shape[1] // groups)
            geometry = zip(at[1:], taps, layer.stride, layer.dilation, layer.padding, strict=True)
            place = tuple(p * s + t * d - pad for p, t, s, d, pad in geometry)
            if all(0 <= p < size for p, size in zip(place, y.shape[2:], strict=True)):
                to = (group * weight.shape[1] + channel, *place)
                found[at, to] = x[(slice(None), *at)] * weight[(at[0], channel, *taps)]
    return found


@pytest.mark.guarantee("a transposed convolution has the contributions of its definition, edge by edge")
@pytest.mark.parametrize("name", LAYERS)
def test_relevance_is_that_of_the_edges_one_by_one(name: str) -> None:
    layer, x = case(name)
    y = layer(x).detach()
    edges, weighting = listed(layer, x, y), seeded(91, *y.shape)
    wanted = torch.zeros_like(x)
    for (source, to), p in edges.items():
        wanted[(slice(None), *source)] += p / y[(slice(None), *to)] * weighting[(slice(None), *to)]
    circuit = provnet.trace(layer, x)
    for route in ("auto", "reference"):
        found = circuit.evaluate("real", weighting, route=route)
        torch.testing.assert_close(found.inputs, wanted, rtol=1e-9, atol=1e-12)
        assert found.conservation().residual() < 1e-9
    assert circuit.session.data.blocks[0].wiring.edges == len(edges)


@pytest.mark.guarantee("a transposed convolution has autograd's derivative, and one answer by every route and size")
@pytest.mark.parametrize("name", LAYERS)
def test_promises(name: str) -> None:
    layer, x = case(name)
    keeps_its_promises(layer.eval(), x)


@pytest.mark.parametrize("rule", ["gamma", "zplus", "wsquare", "flat"])
def test_rules_agree_with_the_reference_route(rule: str) -> None:
    layer, x = case("overlaps")
    circuit = provnet.trace(layer, x)
    weighting = seeded(91, *layer(x).shape)
    one, other = (circuit.evaluate("real", weighting, rule=rule, route=route).inputs for route in ("auto", "reference"))
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_file_has_it(tmp_path: Path) -> None:
    layer, x = case("grouped")
    circuit = provnet.trace(layer, x)
    provnet.save(circuit, tmp_path / "circuit")
    again = provnet.load(tmp_path / "circuit")
    assert isinstance(again, provnet.Circuit)
    assert torch.equal(again.evaluate("viterbi", (0, 0)).inputs, circuit.evaluate("viterbi", (0, 0)).inputs)


def test_a_batch_norm_behind_it_is_fused(tmp_path: Path) -> None:
    """As with a convolution: the affine map of both, one block, whose output is the norm's."""
    layer, x = case("overlaps")
    norm = nn.BatchNorm2d(2).double()
    with torch.no_grad():
        for number, tensor in enumerate((norm.weight, norm.bias, norm.running_mean, norm.running_var)):
            tensor.copy_(seeded(96 + number, 2).abs() + 0.5)  # type: ignore[union-attr]
    net = nn.Sequential(layer, norm).eval()
    weighting = seeded(91, *net(x).shape)
    fused = provnet.trace(net, x)
    assert len(fused.session.data.blocks) == 1
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((net(leaf) * weighting).sum(), leaf)
    provnet.save(fused, tmp_path / "circuit")
    loaded = provnet.load(tmp_path / "circuit")
    assert isinstance(loaded, provnet.Circuit)
    for circuit in (fused, loaded):
        for route in ("auto", "reference"):
            found = circuit.evaluate("real", weighting, rule="gradient", route=route).inputs
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert fused.evaluate("real", weighting).conservation().residual() < 1e-9


@pytest.mark.guarantee("transposed convolutions are folded by the same compiled kernels as convolutions")
@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "counting", "bottleneck", "boolean"])
def test_large_ones_take_the_compiled_route(semiring: str) -> None:
    pytest.importorskip("numba")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 256, 2)).eval()
    circuit = provnet.trace(model, seeded(98, 1, 4, 8, 8).float())
    found = circuit.evaluate(semiring, 0, engine="numba")
    (step,) = [step for step in found.plan if step.op == "aten.convolution"]
    assert step.route != "reference"
    torch.testing.assert_close(found.inputs, circuit.evaluate(semiring, 0, route="reference").inputs)
