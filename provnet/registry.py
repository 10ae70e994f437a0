"""Names for objects: semirings, annotation functions, propagation rules, op rules and writers are all found by name."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from provnet.errors import OptionError, UnknownNameError

T = TypeVar("T")
E = TypeVar("E")


class Registry(Generic[T]):
    """A mapping name -> object that grows by decoration, so that adding an entry edits no other file.

    `synonyms` are other words for entries, as papers and other tools have them: a word for one entry finds it, a word
    for several is answered with a choice. Case, spaces, hyphens and underscores do not matter, and ℕ is read as N.
    Registries with the same `shelves` share one space of names: a name is an entry of one of them.
    """

    def __init__(
        self,
        kind: str,
        synonyms: Mapping[str, tuple[str, ...]] | None = None,
        shelves: list[Registry[Any]] | None = None,
    ) -> None:
        self.kind = kind
        self._shelves = [] if shelves is None else shelves
        self._shelves.append(self)
        self.synonyms = {_bare(word): names for word, names in (synonyms or {}).items()}
        self._entries: dict[str, T] = {}

    def register(self, *names: str) -> Callable[[E], E]:
        """Return a decorator that files its object under each of `names`. Raises `OptionError` if one is taken."""

        # Typed by what is decorated, not by T: a class keeps its own constructor for a type checker.
        def file(entry: Any) -> Any:
            for name in names:
                for shelf in self._shelves:
                    if name in shelf._entries:
                        raise OptionError(f"{shelf.kind} {name!r} is registered already; choose another name.")
            for name in names:
                self._entries[name] = entry
            return entry

        return file

    def get(self, name: str) -> T:
        """Return the entry called `name`. Raises `UnknownNameError`, which lists the names that come near."""
        meant = self._meant(name)
        if len(meant) == 1:
            return self._entries[meant[0]]
        raise self._unknown(name, self.kind, [self])

    def find(self, name: str) -> Any:
        """Return the entry called `name` here or in a registry that shares its names. Raises `UnknownNameError`."""
        for shelf in (self, *self._shelves):
            if len(meant := shelf._meant(name)) == 1:
                return shelf._entries[meant[0]]
        raise self._unknown(name, " or ".join(shelf.kind for shelf in self._shelves), self._shelves)

    def _meant(self, name: str) -> tuple[str, ...]:
        """Return the names of the entries that a word stands for."""
        if name in self._entries:
            return (name,)
        bare = {_bare(known): known for known in self._entries}
        meant = (bare[_bare(name)],) if _bare(name) in bare else self.synonyms.get(_bare(name), ())
        return tuple(known for known in meant if known in self._entries)

    @staticmethod
    def _unknown(name: str, kind: str, shelves: Sequence[Registry[Any]]) -> UnknownNameError:
        bare = {_bare(known): known for shelf in shelves for known in shelf._entries}
        close = (bare[found] for found in difflib.get_close_matches(_bare(name), bare, n=3))
        near = tuple(one for shelf in shelves for one in shelf._meant(name)) or tuple(close)
        hint = (
            f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(sorted(bare.values()))}."
        )
        return UnknownNameError(f"no {kind} is called {name!r}. {hint}")

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Forget on leaving what was filed or taken out inside: for tests, and for an op rule that one model needs.

        Example: `with REGISTRY.scope(): register_op("mylib.swish", form="identity"); trace(model, x)`
        """
        before = dict(self._entries)
        try:
            yield
        finally:
            self._entries = before

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def _bare(name: str) -> str:
    """Return a name without case, spaces, hyphens and underscores. A name of hyphens alone keeps them."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in plain if c not in " -_") or name


SEMIRING_SHELVES: list[Registry[Any]] = []
"""The registries of semirings: those of numbers, on tensors, and those of symbols."""
