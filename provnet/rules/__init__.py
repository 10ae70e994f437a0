"""Op rules (`ops/`: one recorded op -> a block) and propagation rules (`lrp/`: contributions -> coefficients)."""

from __future__ import annotations

from provnet.rules.lrp import assignment, get, names
from provnet.rules.lrp.absolute import Absolute
from provnet.rules.lrp.alpha_beta import AlphaBeta, ZPlus
from provnet.rules.lrp.base import Choice, Rule, Stabilised, register
from provnet.rules.lrp.composite import Composite, Entry
from provnet.rules.lrp.epsilon import Epsilon
from provnet.rules.lrp.factors import Branch, Factors, RuleEdges, Terms
from provnet.rules.lrp.gamma import Gamma
from provnet.rules.lrp.gradient import Gradient
from provnet.rules.lrp.norm import Norm, Pass
from provnet.rules.lrp.rule_json import from_json, to_json
from provnet.rules.lrp.selectors import Depth, Kind, Module, OpName, Path, Where
from provnet.rules.lrp.stock import (
    IMAGENET_HIGH,
    IMAGENET_LOW,
    VGG16,
    AttnLRP,
    DeepTaylor,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    ExcitationBackprop,
)
from provnet.rules.lrp.w_square import Flat, WSquare
from provnet.rules.lrp.z_box import ZBox
from provnet.rules.lrp.zero import Zero

Edges, Op, Product = RuleEdges, OpName, Factors
"""Earlier names, which go on working."""

__all__ = [
    "IMAGENET_HIGH",
    "IMAGENET_LOW",
    "VGG16",
    "Absolute",
    "AlphaBeta",
    "AttnLRP",
    "Branch",
    "Choice",
    "Composite",
    "DeepTaylor",
    "Depth",
    "Entry",
    "Epsilon",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "ExcitationBackprop",
    "Factors",
    "Flat",
    "Gamma",
    "Gradient",
    "Kind",
    "Module",
    "Norm",
    "OpName",
    "Pass",
    "Path",
    "Rule",
    "RuleEdges",
    "Stabilised",
    "Terms",
    "WSquare",
    "Where",
    "ZBox",
    "ZPlus",
    "Zero",
    "assignment",
    "from_json",
    "get",
    "names",
    "register",
    "to_json",
]
