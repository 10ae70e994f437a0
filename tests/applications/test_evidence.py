"""Evidence by intervention: a true ranking is better than chance, and chance is no better than itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import provnet
from provnet.applications.evidence import BASELINES, CHANGES, evidence, table
from provnet.applications.perturbation import perturbation_curve
from provnet.errors import OptionError
from tests.nets import perceptron, seeded


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """The score is the sum of inputs that have weights 8, 4, 2, …; the other class has none."""
    net = nn.Sequential(nn.Linear(8, 2, bias=False)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.stack([0.5 ** torch.arange(8.0) * 8, torch.zeros(8)]))  # type: ignore[union-attr]
    return net


@pytest.mark.guarantee("Evidence by intervention tells a true ranking from chance, and reports ties")
def test_what_is_true_is_better_than_chance(net: nn.Module) -> None:
    x = torch.rand(40, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    rows = {(row.name, row.change): row for row in evidence(net, x, ["real", "boolean", "tropical"])}
    assert {change for _, change in rows} == set(CHANGES) and {name for name, _ in rows} >= set(BASELINES)
    for name in ("real", "tropical", "gradient_times_input"):
        assert rows[name, "zero"].better > 3, name
        assert rows[name, "zero"].ties == 0
    assert rows["random", "zero"].better == 0
    assert rows["boolean", "zero"].ties == 1  # every input is relevant
    assert abs(rows["boolean", "zero"].better) < 3
    assert rows["real", "zero"].area == pytest.approx(rows["gradient_times_input", "zero"].area)


def test_areas_are_those_of_deletion_curves() -> None:
    model = seeded(lambda: perceptron(6, 5, 3), dtype=torch.float32)
    x = torch.rand(5, 6)
    row = next(row for row in evidence(model, x, ["viterbi"], steps=6) if (row.name, row.change) == ("viterbi", "mean"))
    relevance = provnet.explain(model, x, semiring="viterbi").inputs
    from_scratch = perturbation_curve(model, x, relevance, change=CHANGES["mean"], steps=6)
    assert row.area == pytest.approx(from_scratch.area)
    assert len(table([row]).splitlines()) == 2
    with pytest.raises(OptionError, match="two or more"):
        evidence(model, x[:1])
    with pytest.raises(OptionError, match="no numbers"):
        evidence(model, x, ["expectation"])
