"""A perceptron, and how it is trained: one seed, one network; torch's own generator is not touched."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

STEPS, RATE = 200, 1e-2


def layer_names(sizes: Sequence[int]) -> list[str]:
    """Return what the linear layers are called, as formulas print them: hidden, output; or hidden1, hidden2, output."""
    hidden = [f"hidden{k}" if len(sizes) > 3 else "hidden" for k in range(1, len(sizes) - 1)]
    return [*hidden, "output"]


def perceptron(sizes: Sequence[int], seed: int) -> nn.Sequential:
    """Return Linear, ReLU, …, Linear with uniform random weights within 1/√fan-in, in evaluation mode."""
    random = torch.Generator().manual_seed(seed)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for k, (name, (fan_in, fan_out)) in enumerate(zip(layer_names(sizes), pairwise(sizes), strict=True)):
        if k:
            layers[f"relu{k}" if len(sizes) > 3 else "relu"] = nn.ReLU()
        # skip_init: the usual initialisation would draw from torch's own generator.
        linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
        with torch.no_grad():
            for parameter in linear.parameters():
                parameter.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=random)
        layers[name] = linear
    return nn.Sequential(layers).eval()


def train(model: nn.Module, x: Tensor, labels: Tensor) -> None:
    """Train in place with Adam on the cross-entropy of all digits at once: about a second, and no shuffle to seed."""
    optimiser = torch.optim.Adam(model.parameters(), RATE, weight_decay=1e-4)
    with torch.enable_grad():
        for _ in tqdm(range(STEPS), desc="training", unit="step", leave=False, delay=2, disable=None):
            optimiser.zero_grad()
            F.cross_entropy(model(x), labels).backward()
            optimiser.step()
    for parameter in model.parameters():
        parameter.grad = None
