"""The search that found the thresholds of `03_squeezenet_castle.py`. Takes some minutes; its result stands there.

From the top down, stage by stage. Each stage is traced by itself, on what the whole network fed it, and is asked with
the Boolean relevance that arrives from above as its start, which is just what the recursion does inside the whole
circuit. Of a coarse grid of thresholds, each 1.5 times the one before, a stage keeps the one that leaves nearest to
`GOAL` of those of its input neurons that a threshold of 1e-9 leaves.
"""

from __future__ import annotations

import sys

import torch
from squeezenet import castle, squeezenet
from torch import Tensor, nn

import provnet

TARGET = 483
GOAL = 0.1
GRID = [float(f"{0.0005 * 1.5**k:.2g}") for k in range(18)]


def stages(model: nn.Module, x: Tensor) -> list[tuple[str, nn.Module, Tensor]]:
    """Return (name, module, its input) of every stage that has thresholds, from the input up."""
    found = []
    with torch.no_grad():
        for part in ("features", "classifier"):
            for name, module in model.get_submodule(part).named_children():
                found.append((f"{part}.{name}", module, x))
                x = module(x)
    return found


def search(goal: float) -> dict[str, float]:
    """Return a threshold for each stage, printing what every one of them leaves."""
    chosen: dict[str, float] = {}
    relevant: Tensor | None = None
    for name, module, x in reversed(stages(squeezenet(), castle())):
        stage = Stage(module, x, relevant)
        reach = stage.share(1e-9)
        theta = 1e-9
        if any(isinstance(m, nn.Conv2d | nn.AdaptiveAvgPool2d) for m in module.modules()):
            theta = chosen[name] = nearest(stage, goal * reach)
            print(f"{name:<14} θ = {theta:<8.3g} leaves {stage.share(theta):7.2%} of {tuple(x.shape[1:])}", flush=True)
        relevant = stage.relevance(theta)
    return chosen


class Stage:
    """One stage with the relevance that arrives at it; answers are kept."""

    def __init__(self, module: nn.Module, x: Tensor, arriving: Tensor | None) -> None:
        self.circuit = provnet.trace(module, x)
        self.arriving = torch.zeros(self.circuit.outputs[0].shape, dtype=torch.bool)
        if arriving is None:
            self.arriving[:, TARGET] = True
        else:
            self.arriving = arriving
        self.known: dict[float, Tensor] = {}

    def relevance(self, theta: float) -> Tensor:
        """Return which input neurons are relevant at θ."""
        if theta not in self.known:
            passes = provnet.annotations.Threshold(theta)
            self.known[theta] = self.circuit.evaluate("boolean", target=self.arriving, annotation=passes).inputs
        return self.known[theta]

    def share(self, theta: float) -> float:
        """Return the share of input neurons that are relevant at θ."""
        return float(self.relevance(theta).double().mean())


def nearest(stage: Stage, goal: float) -> float:
    """Return the θ of the grid that leaves nearest to the share `goal`, by bisection: a higher θ never leaves more."""
    low, high = 0, len(GRID) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if stage.share(GRID[middle]) >= goal else (low, middle)
    return min((GRID[low], GRID[high]), key=lambda theta: abs(stage.share(theta) - goal))


if __name__ == "__main__":
    print(search(float(sys.argv[1]) if len(sys.argv) > 1 else GOAL))
