"""What a writer is: a function of gates or a formula, and a path. Each format's is found by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from provnet.circuit.gates import GateStore
from provnet.errors import LimitError, OptionError
from provnet.registry import Registry
from provnet.symbolic.canonical import cone
from provnet.symbolic.formula import Formula
from provnet.symbolic.polynomial import Polynomial
from provnet.writers.writable_names import require_writable, texts_of

StrPath = str | os.PathLike[str]


class HasStore(Protocol):
    """Anything that stands for gates, such as the public gate circuit."""

    @property
    def store(self) -> GateStore: ...


Subject = GateStore | Formula | HasStore
Writer = Callable[..., Path]
"""`write_<format>(subject, path, **options)` -> the path of the file that was written."""

REGISTRY: Registry[Writer] = Registry("writer")
writer = REGISTRY.register


def write(subject: Subject | Polynomial, path: StrPath, format: str | None = None, **options: object) -> Path:
    """Write gates or a formula in the named format, or in the one that the path's ending names.

    Raises `UnknownNameError` for a format that does not exist, `OptionError` where a path without an ending leaves it
    open, `OutputError` where the path cannot be written, `LimitError` where the picture would be unreadable.
    """
    name = format or Path(path).suffix.lstrip(".").lower()
    if not name:
        raise OptionError(
            f"{path} has no ending that names a format: give format=, one of {', '.join(REGISTRY.names())}."
        )
    return REGISTRY.get(name)(subject, path, **options)


def gates_of(subject: Subject) -> GateStore:
    """Return the gates that a writer was given. Raises `OptionError` for something else.

    Raises `UnsupportedOperationError` if a name holds a character that no file can hold.
    """
    store = subject if isinstance(subject, GateStore) else getattr(subject, "store", None)
    if not isinstance(store, GateStore):
        raise OptionError(
            f"gates or a formula were expected, not {type(subject).__name__}: ask a circuit for .gates(…)."
        )
    require_writable(texts_of(store))
    return store


def drawn(subject: Subject, limit: int) -> GateStore:
    """Return the gates below the roots, to be drawn. Raises `LimitError`, with their number, if it is above `limit`."""
    store = gates_of(subject)
    below = cone(store, store.root_gates.tolist(), store.roots)
    if len(below) > limit:
        raise LimitError(
            f"a drawing of {len(below):,} gates and {below.wires:,} wires is more than limit={limit:,} gates and "
            f"cannot be read. Draw one neuron's formula, a smaller cone, or the best paths, gates.prune(keep=10); "
            f"limit= draws more."
        )
    return below
