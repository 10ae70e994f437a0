"""The public classes, thin over the rooms' plain data."""

from __future__ import annotations

from provnet.face.circuit import Circuit
from provnet.face.conservation_report import Conservation
from provnet.face.files import load, save
from provnet.face.gate_circuit import GateCircuit
from provnet.face.pictures import plot
from provnet.face.relevance import Relevance
from provnet.face.root_elements import Elements
from provnet.face.targets import Targets
from provnet.face.trace import explain, trace
from provnet.symbolic.difference import difference

__all__ = [
    "Circuit",
    "Conservation",
    "Elements",
    "GateCircuit",
    "Relevance",
    "Targets",
    "difference",
    "explain",
    "load",
    "plot",
    "save",
    "trace",
]
