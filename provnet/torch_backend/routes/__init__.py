"""Routes, one contraction a file. A file added here is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from provnet.errors import OptionError
from provnet.torch_backend.blocks.prepared import Ready
from provnet.torch_backend.routes import operands
from provnet.torch_backend.routes.base import REGISTRY, BlockQuestion, Route

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

_RANKED: tuple[Route, ...] = tuple(
    sorted((REGISTRY.get(name)() for name in REGISTRY.names()), key=lambda route: -route.rank)
)


def candidates(prepared: Ready, question: BlockQuestion, wanted: str) -> Iterator[tuple[Route, str]]:
    """Return the routes that fit, best first, each with the reason; the reference is always the last.

    A route is asked only when those before it have been refused.

    `wanted`: "auto", or the name of a route ("reference"), which is then taken wherever it fits.
    """
    if wanted != "auto" and wanted not in REGISTRY:
        raise OptionError(f"route={wanted!r} is unknown; take 'auto' or one of {', '.join(REGISTRY.names())}.")
    chosen = [route for route in _RANKED if wanted in ("auto", route.name) or route.rank == 0]
    fitting = ((route, operands.fits(route, prepared, question)) for route in chosen)
    return ((route, why) for route, why in fitting if why is not None)
