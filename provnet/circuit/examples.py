"""One example's circuit out of a batch's: where wirings differ from example to example, its own."""

from __future__ import annotations

from dataclasses import replace

from provnet.circuit.blocks import BlockCircuit


def example_of(circuit: BlockCircuit, example: int) -> BlockCircuit:
    """Return the circuit with the wirings of one example, for look-ups edge by edge: gates, cones, grains.

    Activations keep the whole batch. A circuit whose examples are all wired alike is returned itself.
    """
    if not any(block.wiring.by_example for block in circuit.blocks):
        return circuit
    blocks = tuple(
        replace(
            block,
            operands=tuple(replace(one, wiring=one.wiring.of_example(example)) for one in block.operands),
        )
        for block in circuit.blocks
    )
    return replace(circuit, blocks=blocks)
