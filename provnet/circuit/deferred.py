"""Fields that are made when they are first looked at: a fused weight, say, that only some questions need."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any


class Deferred:
    """Stands in a field declared by `deferrable` for `make(*parts)`, which is called once, and kept.

    Who can do with the parts alone takes them from `raw(instance, field)`, and nothing is made. A subclass may have a
    `make` of its own; one that is given must not refer to the instance, for that is a cycle, which lives on.
    """

    def __init__(self, make: Callable[..., Any] | None = None, *parts: Any) -> None:
        self._make, self.parts = make, parts

    def make(self) -> Any:
        assert self._make is not None
        return self._make(*self.parts)

    @cached_property
    def value(self) -> Any:
        return self.make()

    def look(self) -> Any:
        """Return the value without keeping it for later."""
        return vars(self)["value"] if "value" in vars(self) else self.make()


_REQUIRED = object()


class _Field:
    """The descriptor behind a deferrable field: reads give the value, whatever was put in."""

    def __init__(self, default: Any) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:  # how a dataclass asks for the default
            if self._default is _REQUIRED:
                raise AttributeError(self._name)
            return self._default
        held = vars(instance)[self._name]
        return held.value if isinstance(held, Deferred) else held

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self._name] = value


def deferrable(default: Any = _REQUIRED) -> Any:
    """Declare a dataclass's field that may be given a `Deferred`. `dataclasses.replace` makes it, unless it is given
    the field anew."""
    return _Field(default)


def raw(instance: Any, name: str) -> Any:
    """Return what was put into a deferrable field: a value, or the `Deferred` that stands for it."""
    return vars(instance)[name]
