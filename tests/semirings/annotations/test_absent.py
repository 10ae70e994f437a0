"""Functions of shares write the zero of absent edges themselves where it is the image of the share 0."""

from __future__ import annotations

import pytest
import torch

from provnet import semirings
from provnet.rules.lrp.factors import RuleEdges

SCALES = ["viterbi", "tropical", "min-plus", "arctic", "bottleneck", "max-times", "log"]


@pytest.mark.parametrize(
    ("name", "semiring"),
    # Costs leave Viterbi's carrier and are refused there.
    [("max-normalised", s) for s in SCALES] + [("neg-log", s) for s in SCALES if s != "viterbi"],
)
def test_an_absent_edge_is_zero_whatever_the_zero_is(name: str, semiring: str):
    algebra = semirings.get(semiring)
    p = torch.tensor([[0.5, -1.0, 2.0, 0.25]])
    edges = RuleEdges(p, p.sum(-1), torch.tensor([[True, True, False, True]]))
    theta = semirings.annotations.resolve(name, algebra)
    give = theta.value if theta.masks_absent(algebra) else theta
    found = give(edges, algebra, p.dtype)
    assert found[0, 2] == algebra.zero
    assert found[0, 1] == {"max-normalised": 1.0, "neg-log": 0.0}[name]
