"""Names for objects: semirings, annotation functions, propagation rules, op rules and writers are all found by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from provnet.errors import OptionError, UnknownNameError

T = TypeVar("T")
E = TypeVar("E")


class Registry(Generic[T]):
    """A mapping name -> object that grows by decoration, so that adding an entry edits no other file."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, *names: str) -> Callable[[E], E]:
        """Return a decorator that files its object under each of `names`. Raises `OptionError` if one is taken."""

        # Typed by what is decorated, not by T: a class keeps its own constructor for a type checker.
        def file(entry: Any) -> Any:
            for name in names:
                if name in self._entries:
                    raise OptionError(f"{self.kind} {name!r} is registered already; choose another name.")
            for name in names:
                self._entries[name] = entry
            return entry

        return file

    def get(self, name: str) -> T:
        """Return the entry called `name`. Raises `UnknownNameError`, which lists the names that come near."""
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=3)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(self.names())}."
        raise UnknownNameError(f"no {self.kind} is called {name!r}. {hint}")

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
