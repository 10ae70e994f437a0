"""Options that differ by layer: a name, a glob, or a mapping of both."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

T = TypeVar("T")


def choose(options: Mapping[str, T], path: str, default: T) -> T:
    """Return the option of the block `path`: by its exact name, else by the first glob that fits, else `default`.

    An exact name comes first because names such as "lstm[0]" are globs too, which do not fit themselves.
    """
    if path in options:
        return options[path]
    return next((option for pattern, option in options.items() if fnmatchcase(path, pattern)), default)
