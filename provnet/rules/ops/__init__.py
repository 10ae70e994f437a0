"""One function an op: from a recorded op to a block. Every file here is found by itself: adding one edits no other."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")

from provnet.rules.ops.base import FORMS, REGISTRY  # noqa: E402  # filled by the files above

KNOWN_RULES = frozenset((*map(REGISTRY.get, REGISTRY), *map(FORMS.get, FORMS)))
"""The rules of this package. What users add is compared with what their ops compute (`declared.py`)."""
