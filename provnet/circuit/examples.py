"""One example's circuit out of a batch's: where wirings differ from example to example, its own."""

from __future__ import annotations

from dataclasses import replace

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.wiring import GatherByExample, SideBySide, Wiring, side_by_side


def by_example(wiring: Wiring) -> bool:
    """Return whether a wiring differs from example to example."""
    if isinstance(wiring, SideBySide):
        return any(by_example(part) for part in wiring.parts)
    return isinstance(wiring, GatherByExample)


def of_example(wiring: Wiring, example: int) -> Wiring:
    """Return the wiring of one example; one that all share is returned itself."""
    if not by_example(wiring):
        return wiring
    if isinstance(wiring, SideBySide):
        return side_by_side(tuple(of_example(part, example) for part in wiring.parts))
    assert isinstance(wiring, GatherByExample), "no other wiring differs"
    return wiring.of(example)


def example_of(circuit: BlockCircuit, example: int) -> BlockCircuit:
    """Return the circuit with the wirings of one example, for look-ups edge by edge: gates, cones, grains.

    Activations keep the whole batch. A circuit whose examples are all wired alike is returned itself.
    """
    if not any(by_example(block.wiring) for block in circuit.blocks):
        return circuit
    blocks = tuple(
        replace(
            block,
            operands=tuple(replace(one, wiring=of_example(one.wiring, example)) for one in block.operands),
        )
        for block in circuit.blocks
    )
    return replace(circuit, blocks=blocks)
