"""Which neurons an explicit circuit may leave out: those that this execution switched off, or that no passing edge
reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.circuit.cone import Chosen
from provnet.face.evaluation import answers
from provnet.face.relevance import Relevance
from provnet.face.session import Session
from provnet.torch_backend.blocks.rows import rows

Mask = NDArray[np.bool_]

SWITCHES = frozenset(
    {
        *("relu", "relu6", "threshold", "hardtanh", "hardshrink", "softshrink", "hardsigmoid", "hardswish"),
        *("clamp", "clamp_min", "clamp_max", "clip", "maximum", "minimum", "gelu", "elu", "silu", "prelu"),
        *("leaky_relu", "celu", "mish"),
    }
)
"""Activation functions: where one of them gives exactly 0, the neuron is switched off."""


def dead_neurons(circuit: BlockCircuit, example: int) -> dict[int, Mask]:
    """Return activation -> [size], the neurons that an activation function set to exactly 0 in one example.

    Views, poolings' winners and other unit edges hand a dead neuron on; sums and linear maps do not. An input that is
    0 is not dead: the execution did not switch it off. Activations without dead neurons are left out.
    """
    dead: dict[int, Mask] = {}
    for block in circuit.blocks:
        if block.has_coefficients:
            continue
        found = _handed_on(circuit, block, dead)
        if block.kind == "elementwise" and block.function in SWITCHES:
            held = circuit.activations[block.output]
            found = found | (rows(held, circuit.batch, held.handle.dtype)[example] == 0).cpu().numpy()
        if found.any():
            dead[block.output] = found
    return dead


def _handed_on(circuit: BlockCircuit, block: Block, dead: Mapping[int, Mask]) -> Mask:
    none = np.zeros(block.wiring.outputs, bool)
    if not any(i in dead for i in block.inputs):
        return none
    below = np.concatenate([dead.get(i, np.zeros(circuit.activations[i].size, bool)) for i in block.inputs])
    source, present, _ = block.wiring.source(np.arange(block.wiring.outputs), 0)
    return below[source] if present is True else below[source] & present


def reached_neurons(session: Session, example: int, **question: Any) -> Callable[[int], Mask]:
    """Return activation -> [size], the neurons that some path of passing edges leads to: one Boolean evaluation.

    question   target, rule, annotation (a threshold), output and conventions, as of `answers`.
    """
    found = answers(session, "boolean", at=sorted(session.data.names), **question)
    assert isinstance(found, Relevance), "one question has one answer"

    @cache
    def reached(activation: int) -> Mask:
        return found.rows(activation)[example].cpu().numpy().astype(bool)

    return reached


def without_sources(circuit: BlockCircuit, chosen: Chosen, dropped: Callable[[int], Mask | None]) -> Chosen:
    """Return which slots are present: those of `chosen`, but none whose source is a neuron that is dropped.

    `dropped`: activation -> [size]; None: none of its neurons. What is dropped goes by source, so the channels of one
    position still share what is present.
    """

    @cache
    def sources(number: int) -> Mask | None:
        block = circuit.blocks[number]
        parts = [dropped(i) for i in block.inputs]
        if all(part is None for part in parts):
            return None
        sizes = [circuit.activations[i].size for i in block.inputs]
        filled = [np.zeros(n, bool) if part is None else part for part, n in zip(parts, sizes, strict=True)]
        return np.concatenate(filled)

    def present(number: int, outputs: NDArray[np.int64]) -> Mask | None:
        wins, out = chosen(number, outputs), sources(number)
        if out is None:
            return wins
        wiring = circuit.blocks[number].wiring
        source, _, _ = wiring.source(outputs[:, None], np.arange(wiring.fan)[None, :])
        kept = ~out[np.broadcast_to(source, (len(outputs), wiring.fan))]
        return kept if wins is None else kept & wins

    return present
