"""What provnet is measured against: the model alone, zennit, captum. provnet itself imports none of the tools."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.bench_rules import ZENNIT, gradient, theirs
from tests.rules.zennit_oracle import modules

ABSENT = {
    "zennit": "pip install --no-deps zennit==1.0.0",
    "captum": "pip install --no-deps --ignore-requires-python captum==0.9.0",
}


def baselines(model: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    """Return the ways that every ratio is against. Gradients are those of the input: parameters ask for none."""
    return {"forward": partial(forward, model, x), "forward + gradient": partial(gradient, model, x)}


@torch.no_grad()
def forward(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def others(model: nn.Module, x: Tensor, box: bool = True) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """Return the ways of the tools that are installed, and the names of those that are not.

    They work on copies of the model, for captum writes the weights anew. `box`: zennit's EpsilonGammaBox too.
    """
    ways: dict[str, Callable[[], Any]] = {}
    own, missing = deepcopy(model), []
    zennit = modules()
    if zennit is None:
        missing.append("zennit")
    else:
        ways["zennit ε"] = partial(theirs, own, x, zennit, ZENNIT["epsilon"](zennit))
        if box:
            ways["zennit EpsilonGammaBox"] = partial(theirs, own, x, zennit, ZENNIT["z^B composite"](zennit))
    if importlib.util.find_spec("captum") is None:
        missing.append("captum")
    else:
        ways["captum ε"] = partial(captum_epsilon, ready_for_captum(model), x)
    return ways, missing


class Flat(nn.Module):
    """Flattens, and looks to captum like a dropout layer: it has no rule for `nn.Flatten`."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return self.nothing(x.flatten(1))


def ready_for_captum(model: nn.Module) -> nn.Module:
    """Return a copy in which modules that captum has no rule for are others that do the same."""
    own = deepcopy(model)
    for parent in list(own.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Flatten):
                setattr(parent, name, Flat())
            elif isinstance(child, nn.Sequential) and not len(child):
                setattr(parent, name, nn.Sequential(nn.Dropout()))
    return own.eval()


def captum_epsilon(model: nn.Module, x: Tensor) -> Tensor:
    """Run captum's LRP with its default rule, ε."""
    return importlib.import_module("captum.attr").LRP(model).attribute(x.clone().requires_grad_(), target=3)
