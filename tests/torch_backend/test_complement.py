"""The second of two denominators, found from the first and the recorded sum, against the sum of its contributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import rules
from provnet.torch_backend.blocks import complement, sums
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.walk.workspace import Workspace

RULES = [rules.AlphaBeta(2, 1), rules.AlphaBeta(3, 2, 1e-6)]


def conv(x: Tensor, bias: bool = True) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(x.shape[1], 5, 3, 2, 1, bias=bias), nn.Flatten()).to(x.dtype), x


def denominators(model: nn.Module, x: Tensor, rule: rules.Rule) -> tuple[Tensor, ...]:
    circuit = provnet.trace(model, x).session.data
    index = next(i for i, block in enumerate(circuit.blocks) if block.role == "linear")
    return Workspace(circuit, x.dtype).prepared(index, rule).z


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_complement_is_the_sum_of_contributions(
    rule: rules.Rule, signed: bool, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(3, 4, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    model, x = conv(x if signed else x.relu(), bias)
    wanted = denominators(model, x, rule)
    used = _watch(monkeypatch)
    found = denominators(model, x, rule)
    assert used
    for mine, slow in zip(found, wanted, strict=True):
        assert bool((torch.isfinite(mine) == torch.isfinite(slow)).all())
        finite = torch.isfinite(slow)
        assert float((mine[finite] - slow[finite]).abs().max()) <= 1e-13 * float(slow[finite].abs().max())


@pytest.mark.parametrize("few", [True, False])
def test_small_differences_of_large_numbers_are_summed(few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the bias remains, or a pool is a millionth of the other, the second pool is as exact as by itself."""
    torch.manual_seed(3)
    model = nn.Linear(64, 40)
    with torch.no_grad():
        model.weight[:2] = model.weight[:2].abs()  # an empty pool
        model.weight[2] = model.weight[2].abs() + 1
        model.weight[2, 5] = -1e-6
        model.bias[:3] = 0.5
    x = torch.rand(2, 64) + 0.1
    exact = x.double() @ model.weight.detach().double().clamp(max=0).T + model.bias.detach().double().clamp(max=0)
    used = _watch(monkeypatch)
    monkeypatch.setattr(complement, "FEW", (1, 1 << 20) if few else (1 << 20, 1 << 20))
    (_, found) = denominators(model, x, rules.AlphaBeta(2, 1))
    assert used == [few]
    assert bool((found[:, :2] == 0).all())
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)


def test_gates_and_blocks_read_the_same_denominators(monkeypatch: pytest.MonkeyPatch) -> None:
    _watch(monkeypatch)
    torch.manual_seed(4)
    model, x = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(1, 6)
    circuit = provnet.trace(model, x)
    gates = circuit.gates(target=1)
    for rule in RULES:
        values = gates.evaluate("bottleneck", gates.valuation("bottleneck", rule=rule))
        blocks = circuit.evaluate("bottleneck", 1, rule).inputs
        assert [float(values[root]) for root in gates.roots] == blocks.flatten().tolist()


def _watch(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let small blocks take the short way, and note of each whether it was enough."""
    monkeypatch.setattr(complement, "WORTH", 1)
    used: list[bool] = []

    def watched(plain: Prepared, recorded: Tensor, first: Tensor) -> Tensor | None:
        found = complement.complement(plain, recorded, first)
        used.append(found is not None)
        return found

    monkeypatch.setattr(sums, "complement", watched)
    return used
