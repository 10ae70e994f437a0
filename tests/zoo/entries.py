"""The zoo: small models of the architectures that people run, each with an input, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn


class Run(NamedTuple):
    """A model in evaluation, and what it is called with."""

    model: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One architecture.

    make       returns a model, its arguments and keyword arguments, under a fixed seed; it may skip the test.
    tolerance  how far the recorded output may be from the plain one: 0 where the same kernels run, for fused kernels
               round otherwise than the plain ops that are recorded.
    sources    the names of the sources that are to be found by default.
    """

    name: str
    make: Callable[[], tuple[Any, ...]]
    tolerance: float = 0.0
    sources: tuple[str, ...] = ("input",)
    tags: frozenset[str] = field(default_factory=frozenset)

    def build(self, dtype: torch.dtype = torch.float32) -> Run:
        """Return the model and its input, the same each time; floating tensors in `dtype`."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model, args, kwargs = (*self.make(), {})[:3]
        if isinstance(model, nn.Module):
            lively(model)
            model = model.to(dtype).eval()
        return Run(model, tuple(cast(a, dtype) for a in args), {k: cast(a, dtype) for k, a in kwargs.items()})


ZOO: dict[str, Entry] = {}


def entry(
    tolerance: float = 0.0, sources: tuple[str, ...] = ("input",), tags: tuple[str, ...] = ()
) -> Callable[[Callable[[], tuple[Any, ...]]], Callable[[], tuple[Any, ...]]]:
    """File a function that makes an architecture under its own name."""

    def file(make: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
        assert make.__name__ not in ZOO
        ZOO[make.__name__] = Entry(make.__name__, make, tolerance, sources, frozenset(tags))
        return make

    return file


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Return `tree` with its floating tensors in `dtype`."""
    if isinstance(tree, Tensor):
        return tree.to(dtype) if tree.is_floating_point() else tree
    if isinstance(tree, Mapping):
        return {key: cast(part, dtype) for key, part in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)(cast(part, dtype) for part in tree)
    return tree


def lively(model: nn.Module) -> None:
    """Give statistics, gains and offsets of norms values that are not zero and one, so that nothing drops out."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in (*model.named_buffers(), *model.named_parameters()):
        with torch.no_grad():
            if name.endswith("running_mean"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
            elif name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.dim() == 1 and tensor.is_floating_point() and bool((tensor == tensor[:1]).all()):
                tensor.add_(torch.randn(tensor.shape, generator=generator).to(tensor.dtype) / 8)


def tokens(batch: int, length: int, vocabulary: int) -> Tensor:
    """Return random token numbers, none of them 0 or 1, which models take for padding and starts."""
    return torch.randint(2, vocabulary, (batch, length))


def need(package: str) -> Any:
    """Return a package, or skip the test."""
    return pytest.importorskip(package, reason=f"the package {package} is not installed")
