"""The public names, which `provnet` makes on their first use."""

from __future__ import annotations

from provnet import errors, rules, semirings
from provnet.applications import inspection
from provnet.applications.datasets.sweep import sweep
from provnet.applications.datasets.tally import Tally
from provnet.circuit.gates import Neuron, Variable
from provnet.errors import ProvnetError
from provnet.face import (
    Circuit,
    Conservation,
    Elements,
    GateCircuit,
    Relevance,
    Targets,
    difference,
    explain,
    load,
    plot,
    save,
    trace,
)
from provnet.rules.ops.base import op_rule as register_op
from provnet.semirings import annotations
from provnet.symbolic.homomorphism import Homomorphism, homomorphism

semirings.homomorphism = homomorphism  # semirings/ may not import symbolic/, and users look for it there

__all__ = [
    "Circuit",
    "Conservation",
    "Elements",
    "GateCircuit",
    "Homomorphism",
    "Neuron",
    "ProvnetError",
    "Relevance",
    "Tally",
    "Targets",
    "Variable",
    "annotations",
    "difference",
    "errors",
    "explain",
    "homomorphism",
    "inspection",
    "load",
    "plot",
    "register_op",
    "rules",
    "save",
    "semirings",
    "sweep",
    "trace",
]
