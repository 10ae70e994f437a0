"""Annotation functions Θ, one file each; a new file registers itself."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from provnet.semirings.annotations.absolute_value import AbsoluteValue
from provnet.semirings.annotations.annotation_lookup import get, names, resolve
from provnet.semirings.annotations.base import REGISTRY, Annotation, Edges
from provnet.semirings.annotations.conserving import Conserving
from provnet.semirings.annotations.cost import Cost
from provnet.semirings.annotations.each import Each
from provnet.semirings.annotations.edits import Edits
from provnet.semirings.annotations.expectation_pair import ExpectationPair
from provnet.semirings.annotations.graded_element import GradedElement
from provnet.semirings.annotations.identity import Identity
from provnet.semirings.annotations.level import Level
from provnet.semirings.annotations.log_absolute import LogAbsolute
from provnet.semirings.annotations.log_positive import LogPositive
from provnet.semirings.annotations.many_thresholds import Thresholds
from provnet.semirings.annotations.max_normalised import MaxNormalised
from provnet.semirings.annotations.neg_log import NegLog
from provnet.semirings.annotations.positive import Positive
from provnet.semirings.annotations.seed import Seed
from provnet.semirings.annotations.signed_parts import SignedParts
from provnet.semirings.annotations.single import Single
from provnet.semirings.annotations.support import Support
from provnet.semirings.annotations.threshold import Threshold

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

Absolute = AbsoluteValue
"""The earlier name, which goes on working."""

__all__ = [
    "REGISTRY",
    "AbsoluteValue",
    "Annotation",
    "Conserving",
    "Cost",
    "Each",
    "Edges",
    "Edits",
    "ExpectationPair",
    "GradedElement",
    "Identity",
    "Level",
    "LogAbsolute",
    "LogPositive",
    "MaxNormalised",
    "NegLog",
    "Positive",
    "Seed",
    "SignedParts",
    "Single",
    "Support",
    "Threshold",
    "Thresholds",
    "get",
    "names",
    "resolve",
]
