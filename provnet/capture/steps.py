"""An op as the recorder writes it down, and the references in its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from provnet.capture.execution import Ref
from provnet.capture.module_names import Frame
from provnet.capture.operations import RENUMBERING


@dataclass(eq=False)
class RecordedStep:
    """An op as it is recorded, before anything is left out."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[int | None, ...]
    frame: Frame
    opaque: Any = None

    @property
    def renumbers(self) -> bool:
        """Return whether the op, on integers, gives each entry another number and leaves it in its place."""
        return self.name.removeprefix("aten.") in RENUMBERING


_PLAIN = frozenset({int, float, bool, str, type(None)})


def refs_in(tree: Any) -> Iterator[int]:
    """Yield the ids of all references in an op's arguments."""
    if type(tree) in _PLAIN:  # most arguments; the checks for containers cost ten times as much
        return
    if isinstance(tree, Ref):
        yield tree.id
    elif isinstance(tree, tuple | list):
        for part in tree:
            yield from refs_in(part)
    elif isinstance(tree, Mapping):
        for part in tree.values():
            yield from refs_in(part)
