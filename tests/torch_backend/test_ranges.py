"""Coefficients tile by tile: present and defined edges, each once, and none other."""

from __future__ import annotations

import torch
from torch import nn

import provnet
from provnet import rules
from provnet.torch_backend.walk.ranges import coefficient_range, coefficients
from tests.nets import seeded


def test_padding_and_undefined_edges_have_none():
    model = seeded(lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)))
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = 0.0, 0.0  # type: ignore[index]
    workspace = provnet.trace(model, torch.rand(3, 1, 4, 4, dtype=torch.float64)).session.workspace(torch.float64)
    inside = 4 * 4 * 9 - 4 * 4 * 3 + 4  # windows that stick out lose a row or column, corners lose both
    flat = torch.cat(list(coefficients(workspace, 0, rules.Flat())))
    assert len(flat) == 3 * 2 * inside
    assert coefficient_range(workspace, 0, rules.Flat()) == (1 / 9, 1 / 4)
    zero = torch.cat(list(coefficients(workspace, 0, rules.Zero())))
    assert len(zero) == 3 * inside  # the second channel's z is 0 everywhere
