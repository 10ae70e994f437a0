"""Write a body into the Triton kernels: their text between the marks of the template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import ModuleType

import torch

from provnet.torch_backend.contractions.body import Body, checked
from provnet.torch_backend.contractions.cache import generated_module
from provnet.torch_backend.contractions.triton_expression import written


@dataclass(frozen=True)
class Signature:
    """The types that a kernel is written for: v's, the weights' (which a, c0 and c1 share), and each scalar's."""

    element: torch.dtype
    weight: torch.dtype
    scalars: tuple[torch.dtype, ...]


def source_of(body: Body, signature: Signature) -> str:
    """Return the source of a module with the kernels `fold` and `joined` of `body`.

    Raises: `DTypeError` for types that Triton kernels do not take; `OptionError` for a name that is not given.
    """
    element, weight = signature.element, signature.weight
    types = {"v": element, "w": weight, "c0": weight, "c1": weight}
    types |= {f"s{i}": dtype for i, dtype in enumerate(signature.scalars)}
    if body.near:
        types["a"] = weight
    update = written(body.tree, types, weight, element)
    join = "v"
    if body.join is not None:
        join = written(checked(body.join), {"v": element, "s0": element}, weight, element)
    text = files("provnet.torch_backend.contractions").joinpath("triton_template.py").read_text(encoding="utf-8")
    text = _between(text, "body", f"NAME = {body.name!r}")
    text = _between(text, "update", f"updated = {update}")
    return _between(text, "join", f"updated = {join}")


def _between(text: str, mark: str, line: str) -> str:
    before, rest = text.split(f"# <{mark}>\n")
    _, after = rest.split(f"# </{mark}>\n")
    indent = before.rsplit("\n", 1)[1]
    return f"{before.removesuffix(indent)}{indent}{line}\n{after}"


@lru_cache(maxsize=64)
def kernels(body: Body, signature: Signature) -> ModuleType:
    """Return the module with the kernels of `body`, which Triton compiles, and keeps on disk, when first launched."""
    return generated_module(f"{body.name}_triton", source_of(body, signature))
