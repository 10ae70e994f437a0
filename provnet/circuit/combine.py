"""Circuits made of circuits: union, sum and product. Variables and roots of one name are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import PLUS, TIMES, GateStore, Neuron, Variable
from provnet.circuit.hash_cons import hash_cons
from provnet.circuit.variables import EdgeSegment, VariableTable, names_of
from provnet.errors import CircuitError

Numbers = NDArray[np.int64]


def same_variables(a: Sequence[Variable], b: Sequence[Variable]) -> bool:
    """Return whether two sequences hold the same variables in the same order; edge tables need no names for it."""
    if a is b:
        return True
    if len(a) != len(b):
        return False
    if isinstance(a, VariableTable) and isinstance(b, VariableTable):
        pairs = list(zip(a.segments, b.segments, strict=False))
        if len(a.segments) == len(b.segments) and all(
            isinstance(x, EdgeSegment) and isinstance(y, EdgeSegment) and _same_edges(x, y) for x, y in pairs
        ):
            return True
    return names_of(a) == names_of(b)


def _same_edges(x: EdgeSegment, y: EdgeSegment) -> bool:
    places = (x.path, x.target, x.inputs, x.fan) == (y.path, y.target, y.inputs, y.fan)
    return places and np.array_equal(x.output, y.output) and np.array_equal(x.slot, y.slot)


def join_variables(a: Sequence[Variable], b: Sequence[Variable]) -> tuple[Sequence[Variable], Numbers, Numbers]:
    """Return the variables of either, by name, those of `a` first; and the number there of each of a's and of b's."""
    if same_variables(a, b):
        return a, np.arange(len(a)), np.arange(len(b))
    known = {name: number for number, name in enumerate(names_of(a))}
    numbers = np.array([known.setdefault(name, len(known)) for name in names_of(b)], np.int64)
    fresh = tuple(variable for variable, number in zip(b, numbers.tolist(), strict=True) if number >= len(a))
    return ((*a, *fresh) if fresh else a), np.arange(len(a)), numbers


def union(a: GateStore, b: GateStore) -> GateStore:
    """Return one circuit with the roots of both, equal gates merged: [[union]] r = [[a]] r or [[b]] r.

    Raises `CircuitError` if a root's name is in both: `add` and `multiply` say what it shall be then.
    """
    twice = set(a.roots) & set(b.roots)
    if twice:
        raise CircuitError(
            f"both circuits have the root {min(map(str, twice))} ({len(twice)} in all): a union would have two of it. "
            "Take `add` or `multiply`, or cones of other roots."
        )
    both = _Both.of(a, b)
    return both.store([*a.roots, *b.roots], np.concatenate([both.left, both.right]))


def add(a: GateStore, b: GateStore) -> GateStore:
    """Return a ⊕ b, root by root: [[a ⊕ b]] r = [[a]] r ⊕ [[b]] r in every semiring.

    Roots are paired by name; two circuits of one root each, whatever the names. Raises `CircuitError` otherwise.
    """
    return _pairwise(PLUS, a, b)


def multiply(a: GateStore, b: GateStore) -> GateStore:
    """Return a ⊗ b, root by root: [[a ⊗ b]] r = [[a]] r ⊗ [[b]] r. Pairs and errors as in `add`."""
    return _pairwise(TIMES, a, b)


def _pairwise(kind: int, a: GateStore, b: GateStore) -> GateStore:
    order = paired_roots(a, b)
    both = _Both.of(a, b)
    operands = np.stack([both.left, both.right[order]], 1).reshape(-1)
    return both.store(list(a.roots), np.arange(len(a.roots)) + len(both.kind), kind, operands)


def paired_roots(a: GateStore, b: GateStore) -> Numbers:
    """Return for each root of `a` the number of its partner in `b`: of one name, or the only one.

    Raises `CircuitError` if the roots do not pair up.
    """
    if len(a.roots) == len(b.roots) == 1 or a.roots == b.roots:
        return np.arange(len(a.roots))
    if set(a.roots) != set(b.roots):
        lone = sorted(map(str, set(a.roots) ^ set(b.roots)))
        raise CircuitError(
            f"the circuits have different roots: {len(lone)} are in one only, such as {lone[0]}. Take the cones of "
            "the roots that they share."
        )
    place = {root: number for number, root in enumerate(b.roots)}
    return np.array([place[root] for root in a.roots], np.int64)


@dataclass(frozen=True, eq=False)
class _Both:
    """Two circuits side by side over joined variables, the second's gates after the first's."""

    kind: NDArray[np.uint8]
    first: Numbers
    operands: Numbers
    variable: Numbers
    variables: Sequence[Variable]
    left: Numbers
    right: Numbers
    assumption: frozenset[str]

    @classmethod
    def of(cls, a: GateStore, b: GateStore) -> _Both:
        variables, mine, other = join_variables(a.variables, b.variables)

        def joined(store: GateStore, numbers: Numbers) -> Numbers:
            found = np.full(len(store), -1)
            leaf = store.variable >= 0
            found[leaf] = numbers[store.variable[leaf]]
            return found

        return cls(
            kind=np.concatenate([a.kind, b.kind]),
            first=np.concatenate([a.first, b.first[1:] + a.wires]),
            operands=np.concatenate([a.operands.astype(np.int64), b.operands.astype(np.int64) + len(a)]),
            variable=np.concatenate([joined(a, mine), joined(b, other)]),
            variables=variables,
            left=a.root_gates.astype(np.int64),
            right=b.root_gates.astype(np.int64) + len(a),
            assumption=a.assumption | b.assumption,
        )

    def store(
        self, roots: list[Neuron], root_gates: Numbers, kind: int = PLUS, operands: Numbers | None = None
    ) -> GateStore:
        """Return the circuit with gates of one kind over pairs of `operands` appended, equal gates merged."""
        operands = np.zeros(0, np.int64) if operands is None else operands
        new = len(operands) // 2
        return hash_cons(
            GateStore(
                kind=np.concatenate([self.kind, np.full(new, kind, np.uint8)]),
                first=np.concatenate([self.first, self.first[-1] + 2 * np.arange(1, new + 1)]),
                operands=np.concatenate([self.operands, operands]).astype(np.int32),
                variable=np.concatenate([self.variable, np.full(new, -1)]).astype(np.int32),
                variables=self.variables,
                roots=tuple(roots),
                root_gates=root_gates.astype(np.int32),
                assumption=self.assumption,
            )
        )
