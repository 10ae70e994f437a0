"""The public classes, thin over the rooms' plain data."""

from __future__ import annotations

from provnet.face.circuit import Circuit
from provnet.face.conservation import Conservation
from provnet.face.files import load, save
from provnet.face.gate_circuit import Elements, GateCircuit
from provnet.face.relevance import Relevance
from provnet.face.targets import Targets
from provnet.face.trace import explain, trace

__all__ = [
    "Circuit",
    "Conservation",
    "Elements",
    "GateCircuit",
    "Relevance",
    "Targets",
    "explain",
    "load",
    "save",
    "trace",
]
