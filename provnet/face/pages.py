"""What opens pages on circuits and gates: applications, which are below this room, put themselves here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from provnet.registry import Registry

PAGES: Registry[Callable[..., Any]] = Registry("page")
"""Page's name -> what serves it."""
