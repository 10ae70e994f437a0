"""Losses as sums of what each entry costs, so that a score of an answer can be explained like any other output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten

MEAN, SUM = 1, 2
"""How torch numbers reductions; 0 is none."""


def _reduced(costs: Tensor, reduction: int) -> Tensor:
    return costs.mean() if reduction == MEAN else costs.sum() if reduction == SUM else costs


def squared(x: Tensor, y: Tensor, reduction: int = MEAN) -> Tensor:
    """(x - y)²."""
    return _reduced((x - y) ** 2, reduction)


def huber(x: Tensor, y: Tensor, reduction: int = MEAN, delta: float = 1.0) -> Tensor:
    """½ d² up to d = |x - y| = delta, and delta · (d - ½ delta) from there."""
    away = (x - y).abs()
    return _reduced(torch.where(away < delta, 0.5 * away**2, delta * (away - 0.5 * delta)), reduction)


def smooth_l1(x: Tensor, y: Tensor, reduction: int = MEAN, beta: float = 1.0) -> Tensor:
    """Huber's loss by beta; |x - y| where that is 0."""
    away = (x - y).abs()
    if beta == 0:
        return _reduced(away, reduction)
    return _reduced(torch.where(away < beta, 0.5 / beta * away**2, away - 0.5 * beta), reduction)


def soft_margin(x: Tensor, y: Tensor, reduction: int = MEAN) -> Tensor:
    """log(1 + exp(-x·y))."""
    return _reduced(F.softplus(-(x * y)), reduction)


def cross_entropy_of_chances(x: Tensor, y: Tensor, weight: Tensor | None = None, reduction: int = MEAN) -> Tensor:
    """-y · log x - (1 - y) · log(1 - x), no logarithm below -100."""
    costs = (y - 1) * torch.log1p(-x).clamp(min=-100) - y * x.log().clamp(min=-100)
    return _reduced(costs if weight is None else costs * weight, reduction)


def cross_entropy_of_logits(
    x: Tensor, y: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = MEAN
) -> Tensor:
    """The same of x = σ(logit)."""
    right = 1 if pos_weight is None else 1 + (pos_weight - 1) * y
    costs = (1 - y) * x + F.softplus(-x) * right
    return _reduced(costs if weight is None else costs * weight, reduction)


def negative_log_likelihood(
    x: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """-x[target], x log-probabilities [batch, classes, …] or [classes]: (loss, the weight of all that counts)."""
    axis = min(x.dim() - 1, 1)
    counted = target != ignore_index
    index = torch.where(counted, target, 0).unsqueeze(axis)
    shares = counted.to(x.dtype) if weight is None else weight[index.squeeze(axis)] * counted
    costs = -x.gather(axis, index).squeeze(axis) * shares
    total = shares.sum()
    if reduction == MEAN:
        return costs.sum() / total, total
    return (costs.sum() if reduction == SUM else costs), total


TABLE: dict[Any, Callable[..., Any]] = {
    aten.mse_loss.default: squared,
    aten.huber_loss.default: huber,
    aten.smooth_l1_loss.default: smooth_l1,
    aten.soft_margin_loss.default: soft_margin,
    aten.binary_cross_entropy.default: cross_entropy_of_chances,
    aten.binary_cross_entropy_with_logits.default: cross_entropy_of_logits,
    aten.nll_loss_forward.default: negative_log_likelihood,
    aten.nll_loss2d_forward.default: negative_log_likelihood,
}
