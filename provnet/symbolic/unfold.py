"""Writes every path out at once: one row a path, all rows one step further at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore
from provnet.symbolic import polynomial_rows

Table = NDArray[np.int32]


def rough_paths(store: GateStore) -> float:
    """Return the number of paths of the only root in floats: cheap, inf or nan where it is beyond them."""
    count = (store.kind != ZERO).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        for gates in store.by_level[1:]:
            for kind, combine in ((TIMES, np.multiply), (PLUS, np.add)):
                some = gates[store.kind[gates] == kind]
                if len(some):
                    starts = np.cumsum(store.fan[some]) - store.fan[some]
                    count[some] = combine.reduceat(count[store.wires_of(some)[1]], starts)
    return float(count[store.root_gates[0]])


def unfold(store: GateStore, limit: int) -> polynomial_rows.PolynomialRows | None:
    """Return the polynomial of the only root as rows, or None if more than `limit` entries would be in work at a time.

    A row holds the variables of a path so far and the gates that are still to be written out; a ⊕ makes one row for
    each operand, a ⊗ puts its operands in its place. All rows take a step together, in numpy, so the time does not
    depend on the number of gates: 10,000 paths of length 3 take 3 ms, and gate by gate 150. Equal monomials meet at
    the end only, so circuits whose monomials merge early are better served gate by gate (`symbolic.expand`).
    """
    pending = store.root_gates[:1, None].astype(np.int32)
    found = np.empty((1, 0), np.int32)
    while pending.shape[1]:
        last = pending[:, -1]
        kind = np.where(last < 0, ONE, store.kind[last])  # -1: nothing is left to do there
        if (kind == ZERO).any():
            alive = kind != ZERO
            pending, found, last, kind = pending[alive], found[alive], last[alive], kind[alive]
        if (kind == VARIABLE).any():
            column = np.where(kind == VARIABLE, store.variable[last], polynomial_rows.EMPTY).astype(np.int32)
            found = np.concatenate([found, column[:, None]], 1)
        fan = store.fan[last]
        copies = np.where(kind == PLUS, fan, 1)
        width = int(np.where(kind == TIMES, fan, 0).max(initial=0))
        size = int(copies.sum())
        if size * (pending.shape[1] + width + found.shape[1]) > limit:
            return None
        row = np.repeat(np.arange(len(last)), copies)
        place = np.arange(size) - np.repeat(np.cumsum(copies) - copies, copies)
        start, below = store.first[last][row] + place, kind[row]
        branch = _operand(store, start, below == PLUS)
        factors = [_operand(store, start + q, (below == TIMES) & (fan[row] > q)) for q in range(width)]
        columns = [column for column in (branch, *factors) if (column >= 0).any()]
        pending, found = np.concatenate([pending[row, :-1], *(c[:, None] for c in columns)], 1), found[row]
    found.sort(axis=1)
    return _counted(found, len(store.variables))


def _operand(store: GateStore, wire: NDArray[np.int64], there: NDArray[np.bool_]) -> Table:
    """Return the operands at some wires, -1 where `there` is not."""
    if not there.any():
        return np.full(len(wire), -1, np.int32)
    return np.where(there, store.operands[np.where(there, wire, 0)], -1).astype(np.int32)


def _counted(found: Table, variables: int) -> polynomial_rows.PolynomialRows:
    """Return rows in lexicographic order with equal ones counted. Short rows are compared as one number each."""
    base, degree = variables + 1, found.shape[1]
    if not len(found) or degree * np.log2(base) >= 62:
        return polynomial_rows.merged(found, np.ones(len(found), np.int64))
    key = np.zeros(len(found), np.int64)
    for column in np.minimum(found, variables).T:  # EMPTY becomes the largest digit, so it still sorts behind
        key = key * base + column
    order = np.argsort(key)
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    kept = found[order[starts]]
    kept = kept[:, : int((kept != polynomial_rows.EMPTY).any(axis=0).sum())]
    return polynomial_rows.PolynomialRows(np.ascontiguousarray(kept), np.diff(starts, append=len(key)))
