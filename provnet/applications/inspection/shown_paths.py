"""The best paths from a neuron to the target, and all their wires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from provnet.applications.inspection.details import gates_of
from provnet.applications.inspection.explorer import Explorer
from provnet.applications.inspection.model import Inspection, PageQuestion, Value
from provnet.applications.inspection.network import identity
from provnet.applications.inspection.wire_columns import EdgeColumns, part_of
from provnet.circuit.derivations import WeightedPath
from provnet.errors import LimitError, OptionError, UnsupportedOperationError


@dataclass(frozen=True)
class Paths:
    """The best paths from a neuron to the target: their values, their edges' names, and all their wires."""

    semiring: str
    values: tuple[Value, ...]
    variables: tuple[tuple[str, ...], ...]
    wires: tuple[tuple[str, ...], ...]
    """Of each path its wires, "source target" by id."""
    inspection: Inspection
    remark: str = ""


def best_paths(explorer: Explorer, question: PageQuestion, node: str, k: int = 1) -> Paths:
    """Return the k best paths from a neuron to the target, in the question's semiring if it selects, else Viterbi.

    Where the cone is too large for explicit gates: the best one, by walking up the messages that are
    the neuron's relevance. Raises: `OptionError` unless 1 <= k <= 100.
    """
    if not 1 <= k <= 100:
        raise OptionError(f"k={k}: ask for 1 to 100 paths.")
    name = question.semiring if _selects(explorer, question.semiring) else "viterbi"
    asked = replace(question, semiring=name, order=name)
    remark = "" if name == question.semiring else f"{question.semiring} chooses no path: these are Viterbi's."
    try:
        gates = gates_of(explorer, question, node)
        found = gates.best_paths(None, k, explorer.answers.semirings[name], None, *_valued(explorer, asked, name))
        chains = [_steps(explorer, path) for path in found]
        values = [path.value for path in found]
    except (LimitError, UnsupportedOperationError) as error:
        chains, value = climb(explorer, asked, node)
        values = [value] if chains else []
        remark = f"{remark} One path only: {error}".strip()
    edges = _collected(explorer, question, chains)
    seen = explorer.inspection(question, (question.semiring, question.order, "bottleneck"), edges, [node])
    return Paths(
        name,
        tuple(values),
        tuple(tuple(variable for *_, variable in chain) for chain in chains),
        tuple(tuple(f"{source} {target}" for _, source, target, _ in chain) for chain in chains),
        seen,
        remark,
    )


def _selects(explorer: Explorer, name: str) -> bool:
    return explorer.answers.semirings[name].selective and name != "boolean"


def _valued(explorer: Explorer, question: PageQuestion, name: str) -> tuple[Any, Any]:
    """Return (rule, annotation) as `GateCircuit.valuation` takes them."""
    return explorer.answers.rules[question.rule], explorer.answers.theta(question, name)


Chain = list[tuple[tuple[int, int, int], str, str, str]]
"""A path's edges, ((block, output, slot), source's id, target's id, variable), from the neuron up."""


def _steps(explorer: Explorer, path: WeightedPath) -> Chain:
    found: Chain = []
    for variable in path.variables:
        block, output, slot = variable.key
        found.append(_step(explorer, block, output, slot, variable.name))
    return found


def _step(explorer: Explorer, block: int, output: int, slot: int, name: str) -> Any:
    source, _ = explorer.network.slots(block, np.array([output]))
    ends = explorer.network.landing(block, source[0, slot : slot + 1])
    bottom = identity(int(ends.layer[0]), int(ends.number[0]))
    return (block, output, slot), bottom, identity(explorer.network.data.blocks[block].output, output), name


def climb(explorer: Explorer, question: PageQuestion, node: str) -> tuple[list[Chain], Any]:
    """Return the best path as a list of one, by the strongest message into each neuron, and its value.

    No path where there is none. In a selective semiring a neuron's relevance is one of its messages.
    """
    answers, name, goals = explorer.answers, question.semiring, set(explorer.targets(question))
    (one,) = answers.relevance(question, (name,)).values()
    layer, number = explorer.locate(node)
    value, chain = one.rows(layer)[question.example, number].item(), []
    while identity(layer, number) not in goals:
        parts = answers.out_of(question, (name,), layer, number)
        best: tuple[float, EdgeColumns, int] | None = None
        for part in parts:
            strength = answers.strength(part.message[name], name)
            row = int(strength.argmax())
            if best is None or strength[row] > best[0]:
                best = float(strength[row]), part, row
        if best is None or best[1].message[name][best[2]] == one.semiring.zero:
            return [], value
        part, row = best[1], best[2]
        block, output, slot = part.block, int(part.output[row]), int(part.slot[row])
        edges = part_of(part, np.array([row]), (name,))
        (variable,) = explorer.network.segment(block, edges.output, edges.slot, edges.source).names()
        chain.append(_step(explorer, block, output, slot, variable))
        layer, number = explorer.network.data.blocks[block].output, output
    return [chain], value


def _collected(explorer: Explorer, question: PageQuestion, chains: Sequence[Chain]) -> list[EdgeColumns]:
    """Return the edges of paths with their values, block by block."""
    keys = dict.fromkeys(key for chain in chains for key, *_ in chain)
    by_block: dict[int, list[tuple[int, int]]] = {}
    for block, output, slot in keys:
        by_block.setdefault(block, []).append((output, slot))
    names = tuple(dict.fromkeys((question.semiring, question.order, "bottleneck")))
    return [explorer.answers.chosen(question, names, block, *np.array(pairs).T) for block, pairs in by_block.items()]
