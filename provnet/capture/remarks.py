"""Remarks on one run: a warning for each kind of thing, with the places where it happened."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from provnet.capture.module_names import Frame
from provnet.capture.store import ConstantOrigin
from provnet.errors import TraceWarning

SHOWN = 3
"""So many places are listed in a warning."""


class Remarks:
    """The remarks on one run of the model called `model`."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.messages: dict[str, str] = {}

    def add(self, what: str, therefore: str, frame: Frame) -> None:
        """Note something, and what follows from it, where it happens for the first time."""
        self.messages.setdefault(what, f"{what} (in {self._place(frame)}): {therefore}.")

    def add_constants(self, origins: Iterable[ConstantOrigin]) -> None:
        """Note the ops that made constants of traced tensors, once for each kind of op."""
        places: dict[tuple[str, str], dict[str, None]] = {}
        for origin in origins:
            places.setdefault((origin.part, origin.op), {})[self._place(origin.frame)] = None
        for (part, op), where in places.items():
            more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
            counts, takes = ("count", "they take") if part == "the indices" else ("counts", "it takes")
            self.messages[f"{part} of {op}"] = (
                f"{part} of {op!r} on a traced tensor (in {', '.join(list(where)[:SHOWN])}{more}) {counts} as "
                f"constant: what {takes} of the relevance is a sink that goes by the op's name."
            )

    def _place(self, frame: Frame) -> str:
        return repr(frame.path or self.model)

    def tell(self) -> None:
        """Issue all warnings."""
        for message in self.messages.values():
            warnings.warn(message, TraceWarning, stacklevel=4)
