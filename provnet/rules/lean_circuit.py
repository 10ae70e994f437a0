"""A circuit whose activations are made again when a block needs them, instead of being kept."""

from __future__ import annotations

from dataclasses import replace

from provnet.capture.execution import Execution
from provnet.capture.lean_values import Again, Lean
from provnet.circuit.blocks import Activation, BlockCircuit


def lean_circuit(execution: Execution, circuit: BlockCircuit) -> BlockCircuit:
    """Return the circuit of an execution with promises of activations in place of most of them.

    Each is, when it is asked for, bit by bit the recorded one. A block asks for its inputs and its output together, so
    these fall into one stretch of ops, or are kept. What is kept, and what it costs: see
    `provnet.capture.lean_values.Lean`.
    """
    lean = Lean(execution, [(*block.reads, block.output) for block in circuit.blocks])
    activations = {
        i: held if _is_copy(execution, held) else replace(held, handle=lean.handle(i, held.handle))
        for i, held in circuit.activations.items()
    }
    blocks = tuple(replace(one, places=None) for one in circuit.blocks)
    return replace(circuit, activations=activations, blocks=blocks, lean=lean)


def _is_copy(execution: Execution, held: Activation) -> bool:
    """Return whether an activation is no view of a recorded value: rows sorted by example, or a value of our own."""
    if held.id not in execution.values:
        return True
    one, other = (tensor.untyped_storage().data_ptr() for tensor in (held.handle, execution.tensor(held.id)))
    return one != other


def whole_circuit(circuit: BlockCircuit) -> BlockCircuit:
    """Return a lean circuit with all of its activations, made again; another one as it is. Memory: all of them."""
    if circuit.lean is None:
        return circuit
    activations = {
        i: replace(held, handle=held.handle.tensor()) if isinstance(held.handle, Again) else held
        for i, held in circuit.activations.items()
    }
    circuit.lean.release()
    return replace(circuit, activations=activations, lean=None)
