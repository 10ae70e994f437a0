"""Save and load circuits of both sizes."""

from __future__ import annotations

from os import PathLike

from provnet.circuit.blocks import BlockCircuit
from provnet.errors import OptionError
from provnet.face.circuit import Circuit
from provnet.face.gate_circuit import GateCircuit
from provnet.writers.archive import load_archive, save_archive


def save(circuit: Circuit | GateCircuit, path: str | PathLike[str]) -> None:
    """Write a circuit to one file: JSON and safetensors in a zip, versioned, no pickle. Nothing is left half-written.

    Raises: `OutputError` if the path cannot be written; `StaleCircuitError` if the model changed since tracing.
    """
    if isinstance(circuit, Circuit):
        circuit.check_fresh()
        save_archive(circuit.data, path)
    elif isinstance(circuit, GateCircuit):
        save_archive(circuit.store, path)
    else:
        raise OptionError(f"save takes a Circuit or a GateCircuit; got {type(circuit).__name__}.")


def load(path: str | PathLike[str]) -> Circuit | GateCircuit:
    """Read a circuit back; it owns its tensors. Raises `FileFormatError` for a truncated, tampered or newer file."""
    found = load_archive(path)
    return Circuit(found) if isinstance(found, BlockCircuit) else GateCircuit(found)
