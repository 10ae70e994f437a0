"""An op as the recorder writes it down, and the references in its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from provnet.capture.execution import refs_in
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

    @cached_property
    def reads(self) -> tuple[int, ...]:
        """The ids of what its arguments refer to, in order, repetitions kept."""
        return tuple(refs_in((self.args, self.kwargs)))

    @property
    def renumbers(self) -> bool:
        """Return whether the op, on integers, gives each entry another number and leaves it in its place."""
        return self.name.removeprefix("aten.") in RENUMBERING
