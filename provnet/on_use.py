"""Modules that are loaded when they are first used, such as sympy and matplotlib: few calls need what they cost.

Written for two readers: the type checker sees the import, a run the stand-in.

    if TYPE_CHECKING:
        import networkx as nx
    else:
        nx = on_use("networkx")
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any


class _OnUse:
    """A module's stand-in, which loads it for the first look at one of its names."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # doctest, inspect and the like ask every object: that is no use of the module
            raise AttributeError(name)
        return getattr(import_module(self._name), name)


def on_use(name: str) -> Any:
    """Return what stands for a module until it is used. Raises `ModuleNotFoundError` then, if it is not installed."""
    return _OnUse(name)


def installed(name: str) -> bool:
    """Return whether a distribution's module can be imported, without importing it."""
    return (name in sys.modules and sys.modules[name] is not None) or find_spec(name) is not None
