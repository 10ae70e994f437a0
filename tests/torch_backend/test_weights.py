"""Weights made piece by piece in memory that is used again, against g(w) of the whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import provnet
from provnet import rules
from provnet.torch_backend.blocks.linear_maps import PIECE
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.weight_factors import mapped
from provnet.torch_backend.walk.workspace import Workspace

RULES = [rules.Zero(), rules.AlphaBeta(2, 1), rules.Gamma(0.25, signed=True), rules.WSquare()]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_pieces_are_the_whole(rule: rules.Rule, fused: bool) -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(200, 160, 3), nn.BatchNorm2d(160).eval()
    assert conv.weight.numel() > PIECE
    nn.init.normal_(norm.weight)
    circuit = provnet.trace(nn.Sequential(conv, norm) if fused else conv, torch.randn(1, 200, 3, 3)).session.data
    before = conv.weight.detach().clone()
    prepared = Workspace(circuit, torch.float32).prepared(0, rule)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator]
    whole = (before * scale[:, None, None, None] if fused else before).detach().reshape(-1)
    assert isinstance(prepared, Prepared)
    for product in prepared.rule.products:
        w, g = mapped(prepared, product)
        assert w is not None
        wanted = whole if product.w is None else product.w(whole)
        torch.testing.assert_close(w if g is None else g(w), wanted, rtol=1e-6, atol=0)
        if not fused:
            assert torch.equal(w if g is None else g(w), wanted)
    assert torch.equal(conv.weight, before)
