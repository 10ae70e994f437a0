"""The arguments of a recorded op: references to values inside nested lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from provnet.capture.execution import Ref

_PLAIN = frozenset({int, float, bool, str, type(None)})


def references(argument: Any) -> list[Ref]:
    """Return the references in an op's argument, however deep, in order."""
    found: list[Ref] = []
    _collect(argument, found)
    return found


def _collect(argument: Any, found: list[Ref]) -> None:
    if type(argument) in _PLAIN:  # most arguments; the checks for containers cost ten times as much
        return
    if isinstance(argument, Ref):
        found.append(argument)
    elif isinstance(argument, list | tuple):
        for part in argument:
            _collect(part, found)
    elif isinstance(argument, Mapping):
        for part in argument.values():
            _collect(part, found)


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
