"""zennit as an oracle: relevance at every module of a model, by its own definition. Only tests import it (LGPL).

zennit imports torchvision for two lists of classes. Where torchvision is not installed, empty classes stand in for
them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

STAND_INS = {"torchvision.ops": ("FrozenBatchNorm2d",), "torchvision.models.resnet": ("Bottleneck", "BasicBlock")}


def modules() -> dict[str, Any] | None:
    """Return zennit's modules by name, None where it is not installed."""
    try:
        with stand_ins():
            names = ("rules", "composites", "canonizers", "core", "layer")
            return {name: __import__(f"zennit.{name}", fromlist=[name]) for name in names}
    except ImportError:
        return None


def load() -> dict[str, Any]:
    """Return zennit's modules by name; the test skips where zennit is missing."""
    found = modules()
    if found is None:
        pytest.skip("zennit is not installed: pip install --no-deps zennit")
    return found


@contextmanager
def stand_ins() -> Iterator[None]:
    """Put empty classes where torchvision's would be, as long as zennit is imported."""
    try:
        __import__("torchvision")
        yield
        return
    except ImportError:
        pass
    made: dict[str, ModuleType] = {}
    for dotted, classes in STAND_INS.items():
        parts = dotted.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            made.setdefault(name, ModuleType(name))
            if depth > 1:
                setattr(made[".".join(parts[: depth - 1])], parts[depth - 1], made[name])
        for name in classes:
            setattr(made[dotted], name, type(name, (nn.Module,), {}))
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)


def attribute(
    model: nn.Module, x: Tensor, target: int, hook_of: Callable[[str, nn.Module], Any], merge: bool = True
) -> dict[str, Tensor]:
    """Return module path -> relevance of its output, "" -> of the input. `hook_of` gives each module's zennit rule."""
    zennit = load()
    canonizers = [zennit["canonizers"].SequentialMergeBatchNorm()] if merge else []
    composite = zennit["core"].Composite(
        module_map=lambda ctx, name, module: hook_of(name, module), canonizers=canonizers
    )
    return with_composite(model, x, target, composite)


def with_composite(model: nn.Module, x: Tensor, target: int, composite: Any) -> dict[str, Tensor]:
    """Return module path -> relevance of its output under one of zennit's own composites."""
    outputs: dict[str, Tensor] = {}
    x = x.clone().requires_grad_()

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            outputs[name] = output
            output.retain_grad()

        return hook

    with composite.context(model) as modified:
        handles = [
            m.register_forward_hook(keep(name)) for name, m in model.named_modules() if name and not list(m.children())
        ]
        try:
            result = modified(x)
            start = torch.zeros_like(result)
            start[:, target] = 1
            result.backward(start)
        finally:
            for handle in handles:
                handle.remove()
    for parameter in model.parameters():
        parameter.grad = None
    found = {name: output.grad for name, output in outputs.items() if output.grad is not None}
    return {"": x.grad, **found}  # type: ignore[dict-item]
