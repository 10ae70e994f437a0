"""Counts that go on in float64 where they do not fit int64. Float64 comes first where there are so many paths that they
may not, for it is right in either case.

A walk in float64 is exact where no count that it met reaches 2^53, and then its answer is that of int64. Where a count
of the answer is beyond 2^63, int64 would have been given up. Between the two int64 is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.blocks import BlockCircuit
from provnet.semirings.base import Semiring
from provnet.torch_backend.counts.bounds import EXACT_FLOAT, LARGEST
from provnet.torch_backend.walk.evaluate import Evaluation, WalkQuestion

WHOLE = ("relevance", "bias", "lost", "passed", "totals", "dropped", "sums")
"""What an evaluation holds of counts."""


def first_rung(semiring: Semiring, paths: float) -> Semiring:
    """Return the carrier in which a question is asked first, of no more than `paths` paths: the lowest, but of plain
    counts that may be too many for it the highest."""
    ladder = semiring.ladder()
    return ladder[-1] if semiring.promotes and paths > LARGEST else ladder[0]


def most_paths(circuit: BlockCircuit) -> float:
    """Return a bound of how many paths lead from one neuron down to the sources and biases, whatever Θ is."""
    most = dict.fromkeys(circuit.sources, 1.0)
    for block in circuit.blocks:
        below = sum(operand.wiring.fan * most.get(operand.input, 1.0) for operand in block.operands)
        most[block.output] = below + (block.bias is not None)
    return max(most.values())


def are_exact(evaluations: Sequence[Evaluation], questions: Sequence[WalkQuestion]) -> bool:
    """Return whether every count that walks in float64 met is below 2^53, and so were the starts, which are whole."""
    starts = [float(question.start.max()) for question in questions if question.start.numel()]
    return max([one.largest for one in evaluations] + starts, default=0.0) < EXACT_FLOAT


def surely_overflow(evaluations: Sequence[Evaluation]) -> bool:
    """Return whether a neuron's count in float64 does not fit int64, whatever was rounded."""
    kept = [float(x.max()) for one in evaluations for x in one.relevance.values() if x.numel()]
    return max(kept, default=0.0) > 1.001 * LARGEST


def in_whole_numbers(evaluation: Evaluation) -> Evaluation:
    """Return an exact evaluation in float64 as one in int64."""
    return replace(evaluation, largest=0.0, **{name: _whole(getattr(evaluation, name)) for name in WHOLE})


def _whole(held: Any) -> Any:
    if isinstance(held, Tensor):
        return held.to(torch.int64) if held.is_floating_point() else held
    if isinstance(held, dict):
        return {key: _whole(part) for key, part in held.items()}
    return tuple(_whole(part) for part in held)
