"""Tensors inside nested tuples, lists, dicts and dataclasses: find them, name them, put something in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor


def tensors_in(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) for each tensor in `tree`; names read like the Python that gets it, "input[0][mask]"."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from tensors_in(part, f"{name}[{key}]")
    elif isinstance(tree, tuple | list):
        for i, part in enumerate(tree):
            yield from tensors_in(part, f"{name}[{i}]")
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            yield from tensors_in(getattr(tree, field.name), f"{name}[{field.name}]")


def distinct(named: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yield the same pairs with a sign added to names that came before: a dict may have the keys 1 and "1"."""
    seen: set[str] = set()
    for name, tensor in named:
        while name in seen:
            name += "'"
        seen.add(name)
        yield name, tensor


def tensors_of(args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Return the tensors among an op's arguments, which nest no deeper than a list. The recorder's innermost loop."""
    found: list[Tensor] = []
    for part in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(part, Tensor):
            found.append(part)
        elif isinstance(part, list | tuple):
            found += [t for t in part if isinstance(t, Tensor)]
    return found


def replace_tensors(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return `tree` with each tensor in its tuples, lists and dicts replaced by `change(tensor)`; the rest is shared.

    Containers are rebuilt only where something in them changed, so types of one's own survive if they hold no tensor.
    """
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, tuple | list):
        parts = [replace_tensors(part, change) for part in tree]
        if all(new is old for new, old in zip(parts, tree, strict=True)):
            return tree
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if isinstance(tree, dict):
        found = {key: replace_tensors(part, change) for key, part in tree.items()}
        if all(found[key] is part for key, part in tree.items()):
            return tree
        if type(tree) is dict:
            return found
        copy = tree.copy()
        copy.update(found)
        return copy
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        changed = {f.name: replace_tensors(getattr(tree, f.name), change) for f in dataclasses.fields(tree) if f.init}
        same = all(part is getattr(tree, name) for name, part in changed.items())
        return tree if same else dataclasses.replace(tree, **changed)
    return tree
