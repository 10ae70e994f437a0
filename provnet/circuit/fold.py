"""Evaluate gates with any Python objects: polynomials, formulas, exact integers, a user's own elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from provnet.circuit.gates import ONE, PLUS, VARIABLE, ZERO, GateStore, Variable

T = TypeVar("T")


def fold(
    store: GateStore,
    plus: Callable[[T, T], T],
    times: Callable[[T, T], T],
    zero: T,
    one: T,
    value_of_variable: Callable[[Variable], T],
) -> tuple[T, ...]:
    """Return the value of every root, folding each gate's operands from the left.

    Each gate is visited once, in topological order and without recursion; a value is let go after its last use, and
    gates that no root needs are skipped. `operator.add` and `operator.mul` serve for objects with + and *.
    Whether the elements obey the laws in `store.assumption` is for the caller to know.
    """
    kinds, operands, first = store.kind.tolist(), store.operands.tolist(), store.first.tolist()
    variable, roots = store.variable.tolist(), store.root_gates.tolist()
    uses = _uses(store)
    values: dict[int, T] = {}
    for gate, kind in enumerate(kinds):
        if not uses[gate]:
            continue
        if kind == VARIABLE:
            values[gate] = value_of_variable(store.variables[variable[gate]])
        elif kind in (ZERO, ONE):
            values[gate] = one if kind == ONE else zero
        else:
            wires = operands[first[gate] : first[gate + 1]]
            result, combine = values[wires[0]], plus if kind == PLUS else times
            for operand in wires[1:]:
                result = combine(result, values[operand])
            values[gate] = result
            for operand in wires:
                uses[operand] -= 1
                if not uses[operand]:
                    del values[operand]
    return tuple(values[gate] for gate in roots)


def _uses(store: GateStore) -> list[int]:
    """Return how often each gate is used by gates that a root needs, and by the roots themselves."""
    uses = np.bincount(store.root_gates, minlength=len(store))
    for gates in reversed(store.by_level[1:]):
        needed = gates[uses[gates] > 0]
        uses += np.bincount(store.wires_of(needed)[1], minlength=len(store))
    return uses.tolist()
