"""Which tensor goes to which source when a circuit is put on other inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from provnet.errors import InputError


def named_inputs(sources: Sequence[str], inputs: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return source name -> tensor, from tensors in the order of the sources and tensors by name.

    Raises: `InputError` for a source without a tensor, one with two, a name that is no source, or what is no tensor.
    """
    known = ", ".join(sources)
    if len(inputs) > len(sources):
        raise InputError(f"{len(inputs)} inputs came; the circuit has {len(sources)} sources ({known}). Give one each.")
    found: dict[str, Any] = dict(zip(sources, inputs, strict=False))
    for name, tensor in named.items():
        if name not in sources or name in found:
            problem = "is given twice" if name in found else "is no source of the circuit"
            raise InputError(f"{name!r} {problem}; its sources are {known}. Give each of them once.")
        found[name] = tensor
    missing = [name for name in sources if name not in found]
    if missing:
        raise InputError(f"no input came for the sources {', '.join(missing)}. Give one tensor for each of {known}.")
    for name, tensor in found.items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"the input for {name!r} is a {type(tensor).__name__}; expected a tensor.")
    return {name: found[name] for name in sources}
