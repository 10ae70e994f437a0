"""Activations that torch runs by kernels with more arguments than they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


def leaky_in_the_mean(x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, *_rest: Any) -> Tensor:
    """nn.RReLU in evaluation: a leaky ReLU with the mean of the slopes that training draws from."""
    return F.leaky_relu(x, (lower + upper) / 2)


def is_drawn(args: Sequence[Any]) -> bool:
    """Return whether the slope is drawn anew for each entry, as in training."""
    return len(args) > 4 and bool(args[4])


TABLE: dict[Any, Callable[..., Any]] = {aten.rrelu_with_noise.default: leaky_in_the_mean}
