"""The arguments of a recorded op: references to values inside nested lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from provnet.capture.execution import Ref


def references(argument: Any) -> Iterator[Ref]:
    """Yield the references in an op's argument, however deep."""
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, list | tuple):
        for part in argument:
            yield from references(part)
    elif isinstance(argument, Mapping):
        for part in argument.values():
            yield from references(part)


def substitute(argument: Any, tensors: Callable[[Ref], Tensor]) -> Any:
    """Return the argument with every reference replaced by its tensor."""
    if isinstance(argument, Ref):
        return tensors(argument)
    if isinstance(argument, list | tuple):
        parts = [substitute(part, tensors) for part in argument]
        named = isinstance(argument, tuple) and hasattr(argument, "_fields")
        return type(argument)(*parts) if named else type(argument)(parts)
    if isinstance(argument, Mapping):
        return {key: substitute(part, tensors) for key, part in argument.items()}
    return argument
