"""The table of ops with and without a rule: for a model that traces, for one that does not, on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import provnet
from provnet.applications.coverage import coverage
from provnet.cli import app


class Sorted(nn.Module):
    """An op without a rule between ops that have one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.renorm(self.one(x) * x.mean(), 2, 0, 1.0)
        return self.two(h).relu()


def sorted_model() -> nn.Module:
    return Sorted().eval()


@pytest.mark.guarantee("the coverage table counts every node, with its rule or the reason why it has none")
def test_the_table_goes_on_behind_a_refusal() -> None:
    table = coverage(sorted_model(), torch.randn(1, 3))
    refused = [line for line in table if line.reason]
    assert [line.op for line in refused] == ["aten.renorm"]
    assert {line.op: line.role for line in table if not line.reason}["aten.addmm"] == "linear"
    assert table.covered == table.nodes - 1
    assert ("aten.mul", "x, x", "product") in [(line.op, line.inputs, line.role) for line in table]
    assert str(table).startswith(f"Sorted: {table.covered} of {table.nodes} nodes have a rule")
    with pytest.raises(provnet.ProvnetError, match="renorm"):
        provnet.trace(sorted_model(), torch.randn(1, 3))


def test_a_model_that_traces_is_covered() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    table = coverage(model, torch.randn(2, 1, 4, 4))
    assert table.covered == table.nodes == sum(line.nodes for line in table)
    assert [line.role for line in table] == ["linear", "unit edges", "unit edges", "linear"]


def test_on_the_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
    here = "tests.applications.test_coverage:sorted_model"
    answer = CliRunner().invoke(app, ["trace", here, str(tmp_path / "x.npy"), "--coverage"])
    assert answer.exit_code == 1, answer.output
    assert "aten.renorm" in answer.output
    assert "refused: no rule" in answer.output
