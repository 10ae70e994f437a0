"""Save and load circuits of both sizes."""

from __future__ import annotations

import copyreg
import tempfile
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from provnet.circuit.blocks import BlockCircuit
from provnet.errors import OptionError, UnsupportedOperationError
from provnet.face.circuit import Circuit, RuleLike
from provnet.face.gate_circuit import GateCircuit
from provnet.face.relevance import Relevance
from provnet.face.session import Session
from provnet.rules import lrp
from provnet.rules.lean_circuit import whole_circuit
from provnet.writers.archive import load_archive, save_archive


def save(circuit: Circuit | GateCircuit, path: str | PathLike[str], rule: RuleLike | None = None) -> None:
    """Write a circuit to one file: JSON and safetensors in a zip, versioned, no pickle. Nothing is left half-written.

    A lean circuit is saved with all of its activations, which are made again for it: the file holds no way to run ops.
    rule    a propagation rule or composite that goes with a `Circuit`: `load(path).rule` gives an equal one back.
    Raises: `OutputError` if the path cannot be written; `StaleCircuitError` if the model changed since tracing;
    `UnsupportedOperationError` for a rule that holds a function.
    """
    if isinstance(circuit, Circuit):
        circuit.session.check_fresh()
        data = whole_circuit(circuit.session.data)
        save_archive(data if rule is None else replace(data, rule=lrp.to_json(lrp.get(rule))), path)
    elif isinstance(circuit, GateCircuit):
        if rule is not None:
            raise OptionError(
                "gates have no rule of their own: save the Circuit with it, or a valuation beside the gates."
            )
        save_archive(circuit.store, path)
    else:
        raise OptionError(f"save takes a Circuit or a GateCircuit; got {type(circuit).__name__}.")


def load(path: str | PathLike[str]) -> Circuit | GateCircuit:
    """Read a circuit back; it owns its tensors. Raises `FileFormatError` for a truncated, tampered or newer file.

    path   of a file that `save` wrote.
    """
    found = load_archive(path)
    return Circuit(Session(found)) if isinstance(found, BlockCircuit) else GateCircuit(found)


# --- pickle and copy --------------------------------------------------------------------------------------------------


def _session_to(session: Session) -> tuple[Any, ...]:
    """Return how pickle and copy make a session again: from the bytes of its file, so both give what `load` gives."""
    if session.with_graph is not None:
        raise UnsupportedOperationError(
            "a circuit that was traced with differentiable=True belongs to its model's graph and has no copy: trace "
            "again where you need it, or keep what provnet.save writes, which has no gradients."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "circuit"
        save(Circuit(session), file)
        return _session_from, (file.read_bytes(),)


def _session_from(content: bytes) -> Session:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "circuit"
        file.write_bytes(content)
        found = load(file)
    assert isinstance(found, Circuit), "the bytes are a circuit's"
    return found.session


def _relevance_to(relevance: Relevance) -> tuple[Any, ...]:
    raise UnsupportedOperationError(
        "a Relevance answers further questions from its circuit, so it is neither pickled nor copied: keep its numbers "
        f"(r.inputs, r['fc1']), or provnet.save the circuit and evaluate {relevance.semiring.name!r} again."
    )


copyreg.pickle(Session, _session_to)
copyreg.pickle(Relevance, _relevance_to)
