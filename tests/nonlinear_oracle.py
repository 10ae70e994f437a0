"""Relevance on a `Program`, edge by edge: the slow twin of products, softmax and norms in every semiring.

Plain Python on the lists of `tests/programs.py`, written from the recursion R_j = ⊕ Θ(d)_jk ⊗ R_k (Groudiev et al.
2025, eq. 6 and 7) with the default annotation functions. It imports nothing of provnet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Any

import numpy as np

from tests.programs import Array, Edge, Policies, Program


@dataclass(frozen=True)
class Algebra:
    """zero, one, plus and times on Python's numbers; `ring`: what is lost there is reported."""

    zero: Any
    one: Any
    plus: Callable[[Any, Any], Any]
    times: Callable[[Any, Any], Any]
    ring: bool = False


ALGEBRAS = {
    "real": Algebra(0.0, 1.0, lambda a, b: a + b, lambda a, b: a * b, ring=True),
    "boolean": Algebra(False, True, lambda a, b: a or b, lambda a, b: a and b),
    "counting": Algebra(0, 1, lambda a, b: a + b, lambda a, b: a * b),
    "viterbi": Algebra(0.0, 1.0, max, lambda a, b: a * b),
    "tropical": Algebra(inf, 0.0, min, lambda a, b: a + b),
}


def element(semiring: str, edge: Edge, largest: float, theta: float) -> Any:
    """Return the default annotation of an edge whose output's largest contribution, sinks included, is `largest`."""
    algebra = ALGEBRAS[semiring]
    if edge.unit:
        return algebra.one
    if semiring in ("viterbi", "tropical"):
        share = abs(edge.p) / largest if largest else 0.0
        if semiring == "viterbi":
            return share
        return -log(share) + 0.0 if share else inf
    if not edge.defined:
        return algebra.zero
    if semiring == "real":
        return edge.d
    return algebra.one if edge.d >= theta else algebra.zero


@dataclass(frozen=True)
class Answer:
    """The relevance of every value, and what sinks took: (value number of the step, name) -> element."""

    relevance: list[list[Any]]
    sinks: dict[tuple[int, str], Any]


def relevance(
    program: Program,
    given: Sequence[Array],
    target: int,
    semiring: str,
    policies: Policies = Policies(),  # noqa: B008 - it is frozen
    theta: float = 1e-9,
) -> Answer:
    """Return the relevance of every neuron for output `target` of the last value."""
    algebra, values = ALGEBRAS[semiring], program.values(given)
    found = [[algebra.zero] * len(value) for value in values]
    found[-1][target] = algebra.one
    sinks: dict[tuple[int, str], Any] = {}
    for number in range(len(values) - 1, program.inputs - 1, -1):
        step = program.steps[number - program.inputs]
        edges = step.edges([values[i] for i in step.inputs], values[number], policies)
        for k, group in grouped(edges, len(values[number])).items():
            arriving = found[number][k]
            largest = max((abs(edge.p) for edge in group), default=0.0)
            for edge in group:
                sent = algebra.times(element(semiring, edge, largest, theta), arriving)
                if edge.sink:
                    _take(sinks, algebra, (number, edge.sink), sent)
                else:
                    found[edge.value][edge.index] = algebra.plus(found[edge.value][edge.index], sent)
            if not group:
                _take(sinks, algebra, (number, step.kept or "dropped"), arriving)
            elif algebra.ring and not policies.gradient:
                left = 1.0 - sum(edge.d for edge in group) if not group[0].unit else 0.0
                name = "dropped" if not any(edge.defined for edge in group) else "rest"
                _take(sinks, algebra, (number, name), left * arriving)
    return Answer(found, sinks)


def grouped(edges: Sequence[Edge], size: int) -> dict[int, list[Edge]]:
    """Return output -> its edges, for all outputs."""
    groups: dict[int, list[Edge]] = {k: [] for k in range(size)}
    for edge in edges:
        groups[edge.output].append(edge)
    return groups


def _take(sinks: dict[tuple[int, str], Any], algebra: Algebra, key: tuple[int, str], sent: Any) -> None:
    sinks[key] = algebra.plus(sinks.get(key, algebra.zero), sent)


def by_paths(
    program: Program,
    given: Sequence[Array],
    target: int,
    semiring: str,
    policies: Policies = Policies(),  # noqa: B008 - it is frozen
    theta: float = 1e-9,
) -> list[list[Any]]:
    """Return the relevance of the inputs by walking every path from the target down: exponential, for tiny programs."""
    algebra, values = ALGEBRAS[semiring], program.values(given)
    incoming: dict[tuple[int, int], list[tuple[int, int, Any]]] = defaultdict(list)
    for number in range(program.inputs, len(values)):
        step = program.steps[number - program.inputs]
        edges = step.edges([values[i] for i in step.inputs], values[number], policies)
        for k, group in grouped(edges, len(values[number])).items():
            largest = max((abs(edge.p) for edge in group), default=0.0)
            incoming[number, k] = [
                (edge.value, edge.index, element(semiring, edge, largest, theta)) for edge in group if not edge.sink
            ]
    totals = [[algebra.zero] * len(np.atleast_1d(x)) for x in values[: program.inputs]]
    waiting = [(len(values) - 1, target, algebra.one)]
    while waiting:
        number, k, weight = waiting.pop()
        if number < program.inputs:
            totals[number][k] = algebra.plus(totals[number][k], weight)
            continue
        waiting += [(value, j, algebra.times(factor, weight)) for value, j, factor in incoming[number, k]]
    return totals
