"""The search that found the thresholds of `03_squeezenet_castle.py`. Takes some minutes; its result stands there.

From the top down, stage by stage. Each stage is traced by itself, on what the whole network fed it, and is asked with the
Boolean relevance that arrives from above as its start, which is just what the recursion does inside the whole circuit. Of
a coarse grid of thresholds, each 1.5 times the one before, a stage keeps the one that leaves nearest to `GOAL` of its
input neurons relevant.
"""

from __future__ import annotations

import sys

import torch
from squeezenet import castle, squeezenet
from torch import Tensor, nn

import provnet

TARGET = 483
GRID = [0.0005 * 1.5**k for k in range(18)]


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
        circuit = provnet.trace(module, x)
        if relevant is None:
            relevant = torch.zeros(circuit.outputs[0].shape, dtype=torch.bool)
            relevant[:, TARGET] = True
        choices = GRID if any(isinstance(m, nn.Conv2d | nn.AdaptiveAvgPool2d) for m in module.modules()) else [1e-9]
        best: tuple[float, float, Tensor] | None = None
        for theta in choices:
            found = circuit.evaluate("boolean", target=relevant, annotation=provnet.annotations.Threshold(theta)).inputs
            share = float(found.double().mean())
            if best is None or abs(share - goal) < abs(best[1] - goal):
                best = theta, share, found
            if share < goal:
                break  # a higher threshold leaves fewer still
        assert best is not None
        theta, share, relevant = best
        if len(choices) > 1:
            chosen[name] = theta
            print(f"{name:<14} θ = {theta:<8.3g} leaves {share:7.2%} of {tuple(x.shape[1:])}", flush=True)
    return chosen


if __name__ == "__main__":
    print(search(float(sys.argv[1]) if len(sys.argv) > 1 else 0.05))
