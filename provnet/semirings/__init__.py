"""Semirings, one file each, and annotation functions; a new file registers itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from provnet.semirings import annotations
from provnet.semirings.arctic import Arctic
from provnet.semirings.base import Semiring
from provnet.semirings.bitset64 import Bitset64
from provnet.semirings.boolean import Boolean
from provnet.semirings.bottleneck import Bottleneck
from provnet.semirings.counting import Counting
from provnet.semirings.expectation import Expectation
from provnet.semirings.from_functions import make
from provnet.semirings.fuzzy import Fuzzy
from provnet.semirings.graded import Graded
from provnet.semirings.k_best import KBest
from provnet.semirings.law_check import check_laws
from provnet.semirings.log import Log
from provnet.semirings.lookup import get, names
from provnet.semirings.lukasiewicz import Lukasiewicz
from provnet.semirings.max_times import MaxTimes
from provnet.semirings.min_plus import MinPlus
from provnet.semirings.modular_integer import ModularInteger
from provnet.semirings.non_negative import NonNegative
from provnet.semirings.product import Product
from provnet.semirings.real import Real
from provnet.semirings.security import Security
from provnet.semirings.signed import Signed
from provnet.semirings.tropical import Tropical
from provnet.semirings.viterbi import Viterbi

homomorphism: Callable[[str, str], Any]
"""`provnet.homomorphism`, put here by the package: symbolic carriers are below this room, which cannot import them."""

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Arctic",
    "Bitset64",
    "Boolean",
    "Bottleneck",
    "Counting",
    "Expectation",
    "Fuzzy",
    "Graded",
    "KBest",
    "Log",
    "Lukasiewicz",
    "MaxTimes",
    "MinPlus",
    "ModularInteger",
    "NonNegative",
    "Product",
    "Real",
    "Security",
    "Semiring",
    "Signed",
    "Tropical",
    "Viterbi",
    "annotations",
    "check_laws",
    "get",
    "homomorphism",
    "make",
    "names",
]


def __getattr__(name: str) -> Any:
    """Return `homomorphism`, which users look for here: it belongs to a room below, and `provnet.public` brings it."""
    if name == "homomorphism":
        return import_module("provnet.public").homomorphism
    raise AttributeError(f"module 'provnet.semirings' has no attribute {name!r}")
