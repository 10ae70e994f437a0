"""Backpropagation as a rule: torch's own gradient, on every route, and what other semirings make of it ([Du23])."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import provnet
from provnet import rules
from provnet.errors import UnsupportedOperationError
from tests.nets import seeded


class Smooth(nn.Module):
    """Activations of many kinds, constants that scale, broadcast and clamp: [2, 6, 6] -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.slope = nn.PReLU(3)
        self.fc1, self.fc2 = nn.Linear(27, 4), nn.Linear(4, 3)
        self.factor = nn.Parameter(torch.linspace(0.5, 2.0, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.slope(self.norm(self.conv(x * self.factor))))
        x = F.max_pool2d(x, 2) - 0.25
        x = torch.tanh(self.fc1(x.flatten(1)))
        x = F.softplus(x, beta=2.0) * 3 + x.clamp(-0.4, 0.4) ** 2
        return self.fc2(F.leaky_relu_(x / 2, 0.3))


def traced(batch_norm: str = "fused") -> tuple[provnet.Circuit, Tensor]:
    model = seeded(Smooth)
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    (wanted,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    return provnet.trace(model, x.detach(), batch_norm=batch_norm), wanted  # type: ignore[arg-type]


@pytest.mark.guarantee("the gradient rule gives torch's gradient, on blocks, gates and circuits that were loaded")
@pytest.mark.parametrize("batch_norm", ["fused", "kept"])
def test_it_is_torchs(batch_norm: str, tmp_path: Path):
    circuit, wanted = traced(batch_norm)
    for route in ("auto", "reference"):
        assert torch.allclose(circuit.evaluate("real", 1, "gradient", route=route).inputs, wanted, rtol=0, atol=1e-13)
    gates = circuit.gates(1, batch=2, units=True)
    found = torch.stack(list(gates.evaluate("real", gates.valuation("real", rule="gradient")).values()))
    assert torch.allclose(found, wanted[2].reshape(-1), rtol=0, atol=1e-13)
    provnet.save(circuit, tmp_path / "c.provnet")
    loaded = provnet.load(tmp_path / "c.provnet")
    assert isinstance(loaded, provnet.Circuit)
    assert torch.equal(loaded.evaluate("real", 1, "gradient").inputs, circuit.evaluate("real", 1, "gradient").inputs)


def test_gradient_times_input_is_relevance_without_activations_and_biases():
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)))
    x = torch.rand(2, 4, dtype=torch.float64)
    circuit = provnet.trace(model, x)
    reading = x * circuit.evaluate("real", 1, "gradient").inputs
    logits = circuit.outputs[0][:, 1:2]
    assert torch.allclose(reading / logits, circuit.evaluate("real", 1).inputs, rtol=1e-10, atol=0)


def test_entropy_and_best_path():
    """By hand on one hidden layer: sums and maxima over all paths of products of derivatives ([Du23] section 3)."""
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    x = torch.rand(1, 3, dtype=torch.float64)
    circuit = provnet.trace(model, x)
    first, second = model[0], model[2]  # type: ignore[index]
    slope = 1 - torch.tanh(first(x)[0]) ** 2
    steps = first.weight.T * slope, second.weight[1]  # [input, hidden], [hidden]
    paths = (steps[0] * steps[1]).detach()
    best = circuit.evaluate("max-times", 1, "gradient", annotation="absolute").inputs[0]
    assert torch.allclose(best, paths.abs().amax(1), rtol=1e-12)
    mass, entropy = circuit.evaluate("expectation", 1, "gradient").inputs[0].unbind(-1)
    assert torch.allclose(mass, paths.sum(1), rtol=1e-12)
    assert torch.allclose(entropy, (-paths * paths.abs().log()).sum(1), rtol=1e-10)


def test_other_rules_leave_unit_edges_alone():
    circuit, _ = traced()
    composite = rules.Composite({"fc2": rules.Gradient()})
    shown = {row.path: row.rule for row in circuit.plan(composite)}
    assert shown["fc2"] == "Gradient()"
    assert [rule for path, rule in shown.items() if rule.endswith("on unit edges")] == []
    gates = circuit.gates(1, units=True)
    plain = circuit.gates(1)
    for semiring in ("real", "viterbi"):
        with_units = gates.evaluate(semiring, gates.valuation(semiring, rule="epsilon"))
        without = plain.evaluate(semiring, plain.valuation(semiring, rule="epsilon"))
        assert torch.allclose(
            torch.stack(list(with_units.values())), torch.stack(list(without.values())), rtol=1e-12, atol=1e-15
        )


def test_an_unknown_step_has_no_derivative():
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)))
    circuit = provnet.trace(model, torch.rand(1, 3, dtype=torch.float64), opaque={"1": "identity"})
    with pytest.raises(UnsupportedOperationError, match="no derivative"):
        circuit.evaluate("real", 1, "gradient")


def test_an_edge_that_is_one_of_several_has_a_slope_of_its_own():
    """x * c with x broadcast: each copy of x is multiplied by another constant."""

    class Spread(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.unsqueeze(2) * torch.tensor([2.0, -3.0, 0.5], dtype=x.dtype)).flatten(1)

    model = seeded(lambda: nn.Sequential(nn.Linear(2, 2), Spread(), nn.Linear(6, 2)))
    x = torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    (wanted,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
    circuit = provnet.trace(model, x.detach())
    assert torch.allclose(circuit.evaluate("real", 0, "gradient").inputs, wanted, rtol=1e-12)
    gates = circuit.gates(0, units=True)
    found = torch.stack(list(gates.evaluate("real", gates.valuation("real", rule="gradient")).values()))
    assert torch.allclose(found, wanted[0], rtol=1e-12)


class Rearranged(nn.Module):
    """Steps that only store a tensor anew: clone, contiguous, reshape of a permuted one, casts, a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.RNN(4, 3, batch_first=True), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("bij,kj->bki", x, torch.ones(4, 4, dtype=x.dtype))
        y = y.permute(0, 2, 1).contiguous() + x.clone(memory_format=torch.contiguous_format)
        y = y + x.to(torch.float64, copy=True) + x.to(memory_format=torch.contiguous_format, copy=True)
        y = y + F.dropout(x, training=False) + torch.empty_like(x).copy_(x)
        return self.fc(y.permute(0, 2, 1).reshape(len(x), -1)) + self.rnn(x)[0][:, -1, :2]


@pytest.mark.guarantee("the gradient rule passes clones, casts, contiguous and reshaped copies with derivative one")
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_that_only_store_a_tensor_anew_have_derivative_one(batch: int, tmp_path: Path):
    model = seeded(Rearranged)
    x = torch.randn(batch, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    (wanted,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    circuit = provnet.trace(model, x.detach())
    assert torch.allclose(circuit.evaluate("real", 1, "gradient").inputs, wanted, rtol=0, atol=1e-13)
    provnet.save(circuit, tmp_path / "c.provnet")
    loaded = provnet.load(tmp_path / "c.provnet")
    assert isinstance(loaded, provnet.Circuit)
    assert torch.allclose(loaded.evaluate("real", 1, "gradient").inputs, wanted, rtol=0, atol=1e-13)
