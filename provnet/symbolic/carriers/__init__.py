"""Semirings whose elements are symbols: provenance polynomials and their quotients. Importing registers them all."""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
