"""Smaller circuits by leaving edges or paths out: variables keep their numbers, so valuations fit both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore
from provnet.circuit.hash_cons import hash_cons
from provnet.circuit.simplify import simplify

Numbers = tuple[int, ...]
"""The variables of one path by number, the root's end first."""


def without_edges(store: GateStore, kept: NDArray[np.bool_]) -> GateStore:
    """Return the circuit in which the variables outside `kept` [variables] are zero, simplified.

    Its polynomials are those of `store` without the monomials that use a variable left out.
    """
    leaves = np.flatnonzero(store.kind == VARIABLE)
    dropped = leaves[~kept[store.variable[leaves]]]
    kind, variable = store.kind.copy(), store.variable.copy()
    kind[dropped], variable[dropped] = ZERO, -1
    return simplify(replace(store, kind=kind, variable=variable))


def of_paths(store: GateStore, paths: Sequence[Iterable[Numbers]]) -> GateStore:
    """Return the circuit of exactly these paths, root by root, with the roots and variables of `store`.

    Paths that begin with the same edge share it: x ⊗ (y ⊕ z) in place of x ⊗ y ⊕ x ⊗ z.
    """
    build = _PrunedBuild()
    roots = [build.sum_of(list(of_root)) for of_root in paths]
    return hash_cons(build.store(store, roots))


class _PrunedBuild:
    """Gates under construction: zero and one, then variables and operators as they are met."""

    def __init__(self) -> None:
        self.kinds, self.variables = [ZERO, ONE], [-1, -1]
        self.operands: list[Numbers] = [(), ()]
        self.known: dict[tuple[int, Numbers, int], int] = {}

    def gate(self, kind: int, operands: Numbers, variable: int = -1) -> int:
        """Return the number of a gate, the old one where there is an equal one."""
        key = (kind, operands, variable)
        if key not in self.known:
            self.known[key] = len(self.kinds)
            self.kinds.append(kind)
            self.operands.append(operands)
            self.variables.append(variable)
        return self.known[key]

    def sum_of(self, paths: list[Numbers]) -> int:
        """Return the gate of the ⊕ of some paths. A path without edges is one.

        Paths may be as long as the network is deep: open sums stand on a list, not on Python's stack.
        """
        stack = [_Open(paths)]
        while True:
            top = stack[-1]
            if top.waiting:
                first, rest = top.waiting.popitem()
                stack.append(_Open(rest, first))
                continue
            stack.pop()
            terms = [*top.terms, *[1] * top.ended][::-1]
            found = self._joined(PLUS, tuple(terms), empty=0)
            if not stack:
                return found
            leaf = self.gate(VARIABLE, (), top.first)
            stack[-1].terms.append(leaf if found == 1 else self.gate(TIMES, (leaf, found)))

    def _joined(self, kind: int, terms: Numbers, empty: int) -> int:
        if not terms:
            return empty
        return terms[0] if len(terms) == 1 else self.gate(kind, terms)

    def store(self, like: GateStore, roots: Sequence[int]) -> GateStore:
        """Return what was built as a store."""
        return replace(
            like,
            kind=np.array(self.kinds, np.uint8),
            first=np.cumsum([0, *map(len, self.operands)]).astype(np.int64),
            operands=np.array([o for some in self.operands for o in some], np.int32),
            variable=np.array(self.variables, np.int32),
            root_gates=np.array(roots, np.int32),
        )


class _Open:
    """A ⊕ that is being built: what its terms begin with, and the terms that are finished, last first."""

    def __init__(self, paths: Iterable[Numbers], first: int = -1) -> None:
        self.first = first
        self.ended = 0
        self.waiting: dict[int, list[Numbers]] = {}
        self.terms: list[int] = []
        for path in paths:
            if path:
                self.waiting.setdefault(path[0], []).append(path[1:])
            else:
                self.ended += 1


def by_worth(store: GateStore, worth: NDArray[np.float64]) -> GateStore:
    """Return the circuit with the operands of every ⊕ in the order of their worth [gates], greatest first.

    Equal ones keep their order. ⊕ commutes, so the circuit stands for the same.
    """
    operands = store.operands.copy()
    gate = np.repeat(np.arange(len(store)), store.fan)
    of_sums = np.flatnonzero(store.kind[gate] == PLUS)
    order = np.lexsort((of_sums, -worth[operands[of_sums]], gate[of_sums]))
    operands[of_sums] = operands[of_sums][order]
    return replace(store, operands=operands)
