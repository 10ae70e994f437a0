"""One function an op: from a recorded op to a block. Every file here is found by itself: adding one edits no other."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")
