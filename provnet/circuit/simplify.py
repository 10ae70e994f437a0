"""Simplify gates by the laws that every semiring obeys, and by those that the flags promise."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import PLUS, TIMES, GateStore, ragged
from provnet.circuit.hash_cons import Merger, OperandRows
from provnet.errors import OptionError

FLAGS = ("idempotent", "absorptive", "times_idempotent")
"""The flags that allow a simplification: x ⊕ x = x; 1 ⊕ x = 1, so x ⊕ (x ⊗ y) = x; x ⊗ x = x."""

SWEEPS = 64


def simplify(store: GateStore, flags: Iterable[str] = ()) -> GateStore:
    """Return an equivalent store with fewer gates, hash-consed, unused gates dropped; variables keep their numbers.

    Always: 0 ⊕ x = x, 0 ⊗ x = 0, 1 ⊗ x = x, one-term ⊕ and ⊗ elided. With the flag `idempotent`, an operand that ⊕
    has twice is dropped; with `times_idempotent` likewise of ⊗; with `absorptive` (which implies idempotent), 1 ⊕ x
    becomes 1 and x ⊕ (x ⊗ y) becomes x. Every flag that made a difference joins `assumption`, so that a semiring
    without it is refused. Flags with no law here (`selective`, …) are ignored.
    Raises `OptionError` for a flag that is no string.
    """
    allowed = frozenset(flags)
    if not all(isinstance(flag, str) for flag in allowed):
        raise OptionError(f"flags={sorted(map(repr, allowed))}: give names such as {', '.join(FLAGS)}.")
    for _ in range(SWEEPS):
        before = (len(store), store.wires)
        store = _sweep(store, allowed)
        if (len(store), store.wires) == before:
            break
    return store


def _sweep(store: GateStore, flags: frozenset[str]) -> GateStore:
    """Apply the laws once, from the leaves up. A gate of a lower level may be found equal only in the next sweep."""
    merger, used = Merger(), set()
    number = np.zeros(len(store), np.int64)
    for level, gates in enumerate(store.by_level):
        if level == 0:
            number[gates] = merger.leaves(store.kind[gates], store.variable[gates])
            continue
        for kind in (TIMES, PLUS):
            some = gates[store.kind[gates] == kind]
            _, operands = store.wires_of(some)
            wires = OperandRows(store.fan[some], number[operands])
            number[some] = _rewritten(merger, kind, wires, flags, used)
    return merger.store(store, number[store.root_gates], frozenset(used))


def _rewritten(
    merger: Merger, kind: int, wires: OperandRows, flags: frozenset[str], used: set[str]
) -> NDArray[np.int64]:
    """Return the gate that stands for each row of `wires`: 0, 1, its one operand, or a new gate."""
    result = np.full(len(wires.fan), -1)
    neutral = 1 if kind == TIMES else 0
    if kind == TIMES:
        result[wires.row[wires.operand == 0]] = 0
    elif "absorptive" in flags:
        ones = np.bincount(wires.row[wires.operand == 1], minlength=len(wires.fan))
        # 1 alone, or beside zeros, is 1 anyway: only other terms are absorbed.
        others = np.bincount(wires.row[wires.operand > 1], minlength=len(wires.fan))
        absorbed = (ones > 0) & (ones + others > 1)
        result[absorbed] = 1
        used.update(["absorptive"] if absorbed.any() else [])
    wires = wires.keep(wires.operand != neutral)
    if kind == PLUS:
        wires = _without_repeats(wires, result, ("idempotent", "absorptive"), flags, used)
        if "absorptive" in flags:
            wires = _without_absorbed(merger, wires, result, used)
    else:
        wires = _without_repeats(wires, result, ("times_idempotent",), flags, used)
    open_ = result < 0
    result[open_ & (wires.fan == 0)] = neutral
    single = np.flatnonzero(open_ & (wires.fan == 1))
    result[single] = wires.operand[wires.first[single]]
    left = np.flatnonzero(open_ & (wires.fan > 1))
    result[left] = merger.add(kind, wires.rows(left))
    return result


def _without_repeats(
    wires: OperandRows, result: NDArray[np.int64], either: tuple[str, ...], flags: frozenset[str], used: set[str]
) -> OperandRows:
    """Drop operands that stand in the same row before, if one of the flags `either` allows it."""
    allowed = [flag for flag in either if flag in flags]
    if not allowed or len(wires.operand) == 0:
        return wires
    row = wires.row
    _, first = np.unique(row * (int(wires.operand.max()) + 1) + wires.operand, return_index=True)
    keep = np.zeros(len(row), bool)
    keep[first] = True
    if (~keep & (result[row] < 0)).any():
        used.add(allowed[0])
    return wires.keep(keep)


def _without_absorbed(merger: Merger, wires: OperandRows, result: NDArray[np.int64], used: set[str]) -> OperandRows:
    """Drop terms x ⊗ y of a ⊕ that has x as a term too."""
    if len(wires.operand) == 0:
        return wires
    kind, fan, first, operand = merger.columns()
    products = np.flatnonzero(kind[wires.operand] == TIMES)
    term = wires.operand[products]
    factors = OperandRows(fan[term], operand[ragged(first[term], fan[term])])
    width = merger.count + 1
    own = wires.row * width + wires.operand
    hit = np.isin(wires.row[products][factors.row] * width + factors.operand, own)
    keep = np.ones(len(own), bool)
    keep[products[factors.row[hit]]] = False
    if (~keep & (result[wires.row] < 0)).any():
        used.add("absorptive")
    return wires.keep(keep)
