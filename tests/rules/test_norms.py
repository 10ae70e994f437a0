"""Layer, group, instance and RMS norms: σ held constant, or unit edges; γ, β, groups; autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import provnet
from provnet.rules.ops import norms
from tests.nonlinear_cases import fill, seeded


@dataclass(frozen=True)
class Case:
    """A norm: its module, the shape of an example, over which axes of [batch, *shape] it runs after `view`."""

    module: Callable[[], nn.Module]
    shape: tuple[int, ...]
    groups: tuple[int, ...]
    """The shape [groups…, n] that the entries of an example fall into."""
    centred: bool = True
    eps: float = 1e-5


CASES = {
    "layer": Case(lambda: nn.LayerNorm(4), (3, 4), (3, 4)),
    "layer without a bias": Case(lambda: nn.LayerNorm(4, bias=False), (3, 4), (3, 4)),
    "layer, plain": Case(lambda: nn.LayerNorm(4, elementwise_affine=False, eps=0.1), (3, 4), (3, 4), eps=0.1),
    "layer over two axes": Case(lambda: nn.LayerNorm([2, 3]), (2, 2, 3), (2, 6)),
    "group": Case(lambda: nn.GroupNorm(2, 4), (4, 3), (2, 6)),
    "group, plain": Case(lambda: nn.GroupNorm(2, 4, affine=False), (4, 2, 2), (2, 8)),
    "instance": Case(lambda: nn.InstanceNorm1d(2, affine=True), (2, 5), (2, 5)),
    "instance, plain": Case(lambda: nn.InstanceNorm2d(2), (2, 2, 3), (2, 6)),
    "one group": Case(lambda: nn.GroupNorm(1, 2), (2, 3), (1, 6)),
}

BY_CHANNEL = (nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)
"""Norms whose γ and β are one number a channel."""


def circuit_of(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor, provnet.Circuit]:
    module = CASES[name].module().to(dtype).eval()
    for number, parameter in enumerate(module.parameters()):
        fill(parameter, 30 + number)
    x = seeded(40, 3, *CASES[name].shape).to(dtype)
    return module, x, provnet.trace(module, x)


def detached(case: Case, module: nn.Module, x: Tensor) -> Tensor:
    """The norm with σ held constant, written from its formula."""
    rows = x.reshape(len(x), *case.groups)
    away = rows - rows.mean(-1, keepdim=True) if case.centred else rows
    sigma = (away.square().mean(-1, keepdim=True) + case.eps).sqrt().detach()
    found = (away / sigma).reshape(x.shape)
    channels = isinstance(module, BY_CHANNEL)
    for name, join in (("weight", torch.mul), ("bias", torch.add)):
        values = getattr(module, name, None)
        if values is not None:
            found = join(found, values.reshape(-1, *[1] * (x.dim() - 2)) if channels else values)
    return found


@pytest.mark.guarantee("norm='detached' is the norm with its standard deviation held constant, and β takes its share")
@pytest.mark.parametrize("matrix", [True, False], ids=["one matrix", "row by row"])
@pytest.mark.parametrize("name", CASES)
def test_detached_is_modified_gradient_times_input(name: str, matrix: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """R_j = a_j ∂/∂a_j Σ_k y_k R_k / y_k, with σ constant: Ali et al. 2022. In both forms of the same weights."""
    monkeypatch.setattr(norms, "MATRIX", norms.MATRIX if matrix else 0)
    case, (module, x, circuit) = CASES[name], circuit_of(name)
    weighting = seeded(41, *x.shape)
    leaf = x.clone().requires_grad_()
    y = detached(case, module, leaf)
    torch.testing.assert_close(y, module(x), rtol=1e-12, atol=1e-12)
    (slope,) = torch.autograd.grad((y * (weighting / y).detach()).sum(), leaf)
    for route in ("auto", "reference"):
        found = circuit.evaluate("real", weighting, route=route)
        torch.testing.assert_close(found.inputs, (x * slope).detach(), rtol=1e-9, atol=1e-11)
        report = found.conservation()
        assert report.residual() < 1e-9
        taken = report.named.get("bias", torch.zeros(3).double())
        wanted = (weighting - (y - _beta(module, y)) * weighting / y).flatten(1).sum(1).detach()
        torch.testing.assert_close(taken, wanted, rtol=1e-9, atol=1e-10)


def _beta(module: nn.Module, y: Tensor) -> Tensor:
    """Return the norm's bias as its output lies."""
    bias = getattr(module, "bias", None)
    if bias is None:
        return torch.zeros_like(y)
    return bias.reshape(-1, *[1] * (y.dim() - 2)) if isinstance(module, BY_CHANNEL) else bias


@pytest.mark.parametrize("name", CASES)
def test_identity_is_a_unit_edge_an_entry(name: str) -> None:
    """β gets nothing, and every semiring passes everything on."""
    _, x, circuit = circuit_of(name)
    weighting = seeded(42, *x.shape)
    found = circuit.evaluate("real", weighting, norm="identity")
    assert torch.equal(found.inputs, weighting)
    assert not found.bias
    one = circuit.evaluate("counting", (0,) * len(CASES[name].shape), norm="identity").inputs
    assert one.sum() == len(x)


@pytest.mark.guarantee("the gradient of a norm is autograd's, with its standard deviation's part")
@pytest.mark.parametrize("norm", ["detached", "identity"])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_autograds(name: str, norm: str) -> None:
    module, x, circuit = circuit_of(name)
    weighting, leaf = seeded(43, *x.shape), x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((module(leaf) * weighting).sum(), leaf)
    for route in ("auto", "reference"):
        found = circuit.evaluate("real", weighting, rule="gradient", norm=norm, route=route).inputs
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("matrix", [True, False], ids=["one matrix", "row by row"])
@pytest.mark.parametrize("name", CASES)
def test_blocks_gates_and_files_agree(name: str, matrix: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "MATRIX", norms.MATRIX if matrix else 0)
    _, _, circuit = circuit_of(name)
    target = (0,) * len(CASES[name].shape)
    provnet.save(circuit, tmp_path / "circuit")
    again = provnet.load(tmp_path / "circuit")
    assert isinstance(again, provnet.Circuit)
    for semiring in ("real", "viterbi", "bottleneck", "counting"):
        blocks = circuit.evaluate(semiring, target, route="reference").inputs
        assert torch.equal(again.evaluate(semiring, target, route="reference").inputs, blocks)
        gates = circuit.gates(target, batch=2)
        found = gates.evaluate(semiring, gates.valuation(semiring))
        assert list(map(float, found.values())) == blocks[2].flatten().double().tolist()


@pytest.mark.guarantee("a norm over the examples is refused")
def test_a_norm_over_examples_is_refused() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, (3, 2))

    with pytest.raises(provnet.ProvnetError, match="holds the examples"):
        provnet.trace(Net(), seeded(44, 3, 2))


def test_a_group_of_one_entry_is_its_bias() -> None:
    """One entry less its mean is 0: everything that arrives goes to β."""
    module = nn.LayerNorm(1).double().eval()
    fill(module.bias, 45)
    found = provnet.trace(module, seeded(46, 2, 3, 1)).evaluate("real", (1, 0))
    assert not found.inputs.any()
    torch.testing.assert_close(found.conservation().named["bias"], torch.ones(2).double())


@pytest.mark.parametrize("name", ["layer", "group"])
def test_in_single_precision(name: str) -> None:
    """The same to rounding, and in the model's own dtype."""
    _, x, wide = circuit_of(name)
    _, _, narrow = circuit_of(name, torch.float32)
    weighting = seeded(47, *x.shape)
    found = narrow.evaluate("real", weighting.float()).inputs
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wide.evaluate("real", weighting).inputs, rtol=1e-3, atol=1e-4)
