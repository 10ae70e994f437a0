"""What the model's modules hold by name, put back after a run: attributes, buffers, parameters, modules, lists.

What the run writes into tensors is put back by `provnet.capture.store`. Hooks are left alone here: other threads set
and remove theirs meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

CONTAINERS = (dict, OrderedDict, list, set)
"""Types of attributes whose elements are put back, too; by their exact type, for others may refuse."""

_HOLDING = frozenset((*CONTAINERS, tuple))
"""Types that modules are looked for in."""


class Attributes:
    """The attributes of some modules at one time, and of modules that these keep in lists, tuples and dicts."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._held: list[tuple[dict[str, Any], dict[str, Any], list[tuple[Any, Any]]]] = []
        for module in _reachable(modules):
            named = dict(vars(module))
            inside = [(v, v.copy()) for k, v in named.items() if type(v) in CONTAINERS and "_hooks" not in k]
            self._held.append((vars(module), named, inside))

    def restore(self) -> None:
        """Undo what was bound, rebound, deleted, added or taken out since."""
        for now, named, inside in self._held:
            for container, elements in inside:
                if not _same(container, elements):
                    container.clear()
                    container.extend(elements) if isinstance(container, list) else container.update(elements)
            if not _same(now, named):
                for name in now.keys() - named.keys():
                    del now[name]
                now.update(named)


def _same(first: Any, second: Any) -> bool:
    """Return whether two containers of one type hold the same objects, in the same order."""
    if isinstance(first, dict):
        return list(first) == list(second) and all(a is b for a, b in zip(first.values(), second.values(), strict=True))
    if isinstance(first, set):
        return first == second
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def _reachable(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    waiting, seen = list(modules), set[int]()
    while waiting:
        module = waiting.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            for value in vars(module).values():
                if type(value) in _HOLDING or isinstance(value, nn.Module):  # few are
                    waiting += _modules_in(value)


def _modules_in(value: Any, depth: int = 3) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif depth and type(value) in _HOLDING:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _modules_in(part, depth - 1)
