"""Which engine contracts blocks: chosen for a stretch of code, and not for the process."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import torch

from provnet.errors import OptionError
from provnet.torch_backend.contractions.base import Engine

FEW_EDGES = 1 << 14
"""Blocks with fewer edges than this are left to torch by "auto": a kernel's first call compiles it for a second."""


@cache
def engines() -> tuple[Engine, ...]:
    """Return the engines of this package: a file whose name ends in `_engine` is found by itself."""
    package = __name__.rpartition(".")[0]
    paths = importlib.import_module(package).__path__
    names = [module.name for module in pkgutil.iter_modules(paths) if module.name.endswith("_engine")]
    return tuple(importlib.import_module(f"{package}.{name}").ENGINE for name in names)


@dataclass(frozen=True, eq=False)
class EngineChoice:
    """What may contract blocks.

    engines     those that are asked, in order; None: all
    least       the fewest edges, of all examples together, that are worth a kernel
    """

    engines: tuple[Engine, ...] | None = None
    least: int = FEW_EDGES

    def on(self, device: torch.device) -> Engine | None:
        """Return the first engine that runs on a device, None if none does."""
        asked = engines() if self.engines is None else self.engines
        return next((engine for engine in asked if engine.takes(device)), None)


AUTO = EngineChoice()
_CHOICE: ContextVar[EngineChoice] = ContextVar("provnet_engine_choice", default=AUTO)


def chosen() -> EngineChoice:
    """Return what may contract blocks here and now."""
    return _CHOICE.get()


@contextmanager
def engine_chosen(engine: str | Engine) -> Iterator[None]:
    """Let an engine contract all that it can, however small, and restore the choice before.

    engine   "auto", what is chosen around this; "torch", none; an engine's name ("numba", "triton") or an engine.
    Raises: `OptionError` for another name.
    """
    token = _CHOICE.set(_choice_of(engine))
    try:
        yield
    finally:
        _CHOICE.reset(token)


def _choice_of(engine: str | Engine) -> EngineChoice:
    if not isinstance(engine, str):
        return EngineChoice((engine,), 0)
    if engine == "auto":
        return chosen()
    if engine == "torch":
        return EngineChoice((), 0)
    named = tuple(one for one in engines() if one.name == engine)
    if not named:
        known = ", ".join(repr(name) for name in ("auto", "torch", *(one.name for one in engines())))
        raise OptionError(f"engine={engine!r} is no engine; expected one of {known}.")
    return EngineChoice(named, 0)


def check_engine(engine: str, device: torch.device) -> None:
    """Raise `OptionError` for a name that is no engine, and for one that does not run on a device here."""
    choice = _choice_of(engine)
    if choice.engines and choice.on(device) is None:
        raise OptionError(
            f"engine={engine!r} does not run on {device.type!r} here: it is not installed, or it is made for another "
            f"device. Take engine='auto', which takes what is there."
        )
