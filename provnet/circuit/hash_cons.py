"""Structural merging: two gates of one kind over the same operands become one. Level by level, vectorised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore, ragged

Gates = NDArray[np.signedinteger]


@dataclass(eq=False)
class OperandRows:
    """Some gates of one kind and their operands, row by row: those of row r are operand[first[r]:first[r + 1]]."""

    fan: Gates
    operand: Gates

    @property
    def first(self) -> Gates:
        return np.concatenate([[0], np.cumsum(self.fan)])

    @property
    def row(self) -> Gates:
        return np.repeat(np.arange(len(self.fan)), self.fan)

    def rows(self, rows: Gates) -> OperandRows:
        """Return some of the gates, in ascending order: all of them are these."""
        if len(rows) == len(self.fan):
            return self
        return OperandRows(self.fan[rows], self.operand[ragged(self.first[rows], self.fan[rows])])

    def keep(self, wires: NDArray[np.bool_]) -> OperandRows:
        """Return the gates with some of their wires only."""
        return OperandRows(np.bincount(self.row[wires], minlength=len(self.fan)), self.operand[wires])

    def sorted(self) -> OperandRows:
        """Return the gates with each one's operands in ascending order."""
        if len(self.operand) == 0:
            return self
        base = self.row * (int(self.operand.max()) + 1)
        keyed = base + self.operand
        if (keyed[1:] >= keyed[:-1]).all():
            return self
        keyed.sort()
        return OperandRows(self.fan, keyed - base)


@dataclass(eq=False)
class Merger:
    """Takes gates level by level and keeps one of each; numbers are those of the circuit under construction."""

    kinds: list[NDArray[np.uint8]] = field(default_factory=list)
    fans: list[Gates] = field(default_factory=list)
    operands: list[Gates] = field(default_factory=list)
    variables: list[Gates] = field(default_factory=list)
    count: int = 0
    swapped: bool = False
    """Whether two ⊗ were merged whose operands stand in another order: right only where ⊗ commutes."""

    def leaves(self, kind: NDArray[np.uint8], variable: NDArray[np.int32]) -> Gates:
        """Add leaves; return the number of each. Zero and one are always gates 0 and 1, whether used or not."""
        wanted = variable[kind == VARIABLE]
        unique, inverse = np.unique(wanted, return_inverse=True)
        numbers = np.where(kind == ZERO, 0, 1)
        numbers[kind == VARIABLE] = 2 + inverse
        self._append(np.array([ZERO, ONE], np.uint8), np.zeros(2, np.int64), np.zeros(0, np.int64), np.full(2, -1))
        own = np.full(len(unique), VARIABLE, np.uint8)
        self._append(own, np.zeros(len(unique), np.int64), np.zeros(0, np.int64), unique.astype(np.int64))
        return numbers

    def add(self, kind: int, wires: OperandRows) -> Gates:
        """Add gates of one kind and of one level; return the number of each. No two are the same gate, or ever were.

        A level's gates are compared among themselves: equal gates have equal operands and so the same level.
        """
        if len(wires.fan) == 0:
            return np.zeros(0, np.int64)
        ordered = wires.sorted()
        chosen = first_equals(hash_rows(ordered))
        same = _equal_rows(ordered, chosen)
        if not same.all():  # two different gates with one hash: rare, so a dictionary will do
            chosen = _by_content(ordered)
        fresh = chosen == np.arange(len(chosen))
        kept, number = np.flatnonzero(fresh), (np.cumsum(fresh) - 1)[chosen]
        if kind == TIMES and not self.swapped:
            self.swapped = not _equal_rows(wires, chosen).all()
        taken = wires.rows(kept)
        start = self.count
        self._append(np.full(len(kept), kind, np.uint8), taken.fan, taken.operand, np.full(len(kept), -1))
        return start + number

    def _append(self, kind: NDArray[np.uint8], fan: Gates, operand: Gates, variable: Gates) -> None:
        self.kinds.append(kind)
        self.fans.append(fan)
        self.operands.append(operand)
        self.variables.append(variable)
        self.count += len(kind)

    def columns(self) -> tuple[NDArray[np.uint8], Gates, Gates, Gates]:
        """Return (kind, fan, first, operand) of all gates so far."""
        # Later calls join the earlier result and what came since.
        self.kinds, self.fans = [np.concatenate(self.kinds)], [np.concatenate(self.fans)]
        self.operands = [np.concatenate(self.operands)]
        fan = self.fans[0]
        return self.kinds[0], fan, np.cumsum(fan) - fan, self.operands[0]

    def store(self, like: GateStore, root_gates: Gates, used: frozenset[str]) -> GateStore:
        """Return the gates that some root needs as a store, with the roots and variables of `like`."""
        if self.swapped:
            used = used | {"commutative"}
        whole = GateStore(
            kind=np.concatenate(self.kinds),
            first=np.concatenate([[0], np.cumsum(np.concatenate(self.fans))]),
            operands=np.concatenate(self.operands).astype(np.int32, copy=False),
            variable=np.concatenate(self.variables).astype(np.int32),
            variables=like.variables,
            roots=like.roots,
            root_gates=root_gates.astype(np.int32),
            assumption=like.assumption | used,
        )
        return restrict(whole)


def hash_cons(store: GateStore) -> GateStore:
    """Merge gates of one kind over the same operands (in any order), repeatedly from the leaves up; drop unused gates.

    Variables keep their numbers, so a valuation fits both. If ⊗ gates are merged that differ in the order of their
    operands, "commutative" joins the assumption.
    """
    merger = Merger()
    number = np.zeros(len(store), np.int32)
    for level, gates in enumerate(store.by_level):
        if level == 0:
            number[gates] = merger.leaves(store.kind[gates], store.variable[gates])
            continue
        for kind in (TIMES, PLUS):
            some = gates[store.kind[gates] == kind]
            number[some] = merger.add(kind, OperandRows(store.fan[some], number[store.below(some)]))
    return merger.store(store, number[store.root_gates], frozenset())


def hash_rows(wires: OperandRows) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each row, whatever the order of its operands: the sum of its mixed operands."""
    with np.errstate(over="ignore"):
        x = wires.operand.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)  # splitmix64's finaliser
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(x ^ (x >> np.uint64(31)), dtype=np.uint64)])
        return np.diff(total[wires.first])


def first_equals(hashes: NDArray[np.uint64]) -> Gates:
    """Return for each hash the place of the first equal one; of n hashes, all but the last log2 n bits are compared.

    Hashes that carry their place in their last bits are sorted several times faster than an argsort takes.
    """
    bits = max(len(hashes) - 1, 1).bit_length()
    mask = np.uint64((1 << bits) - 1)
    order = np.sort((hashes & ~mask) | np.arange(len(hashes), dtype=np.uint64))
    place, key = (order & mask).astype(np.int64), order & ~mask
    fresh = np.concatenate([[True], key[1:] != key[:-1]])
    found = np.empty(len(hashes), np.int64)
    found[place] = place[fresh][np.cumsum(fresh) - 1]
    return found


def _equal_rows(wires: OperandRows, other: Gates) -> NDArray[np.bool_]:
    """Return for each row whether row `other` of the same wires has the same operands in the same order."""
    same = wires.fan == wires.fan[other]
    rows = np.flatnonzero(same & (other != np.arange(len(other))))  # a row is equal to itself
    if not len(rows):
        return same
    first, fan = wires.first, wires.fan[rows]
    equal = wires.operand[ragged(first[rows], fan)] == wires.operand[ragged(first[other[rows]], fan)]
    differs = np.bincount(np.repeat(rows, fan)[~equal], minlength=len(same)) > 0
    return same & ~differs


def _by_content(wires: OperandRows) -> Gates:
    """Return for each row the first row with the same operands."""
    seen: dict[bytes, int] = {}
    first = wires.first
    rows = [seen.setdefault(wires.operand[first[r] : first[r + 1]].tobytes(), r) for r in range(len(wires.fan))]
    return np.asarray(rows, np.int64)


def restrict(store: GateStore, roots: Sequence[int] | None = None) -> GateStore:
    """Return the circuit of some roots (numbers within `store.roots`; None: all) and only the gates they need.

    Variables keep their numbers, those that no gate needs included.
    """
    chosen = np.arange(len(store.roots)) if roots is None else np.asarray(roots, np.int64)
    needed = needed_gates(store, store.root_gates[chosen])
    if roots is None and needed.all():
        return store
    kept = np.flatnonzero(needed)
    number = np.cumsum(needed, dtype=np.int32) - np.int32(1)
    operands = store.operands[np.repeat(needed, store.fan)]
    return GateStore(
        kind=store.kind[kept],
        first=np.concatenate([[0], np.cumsum(store.fan[kept])]),
        operands=number[operands],
        variable=store.variable[kept],
        variables=store.variables,
        roots=store.roots if roots is None else tuple(store.roots[i] for i in chosen),
        root_gates=number[store.root_gates[chosen]],
        assumption=store.assumption,
    )


def needed_gates(store: GateStore, root_gates: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which gates some of the gates `root_gates` need, [gates]: linear time, whatever the depth.

    Gates that nothing uses are dropped, then those that only they used, and so on: few rounds where little is dropped.
    """
    uses = np.bincount(store.operands, minlength=len(store))
    uses[root_gates] += 1
    dropped = np.flatnonzero(uses == 0)
    needed = uses > 0
    while len(dropped):
        below, lost = np.unique(store.below(dropped), return_counts=True)
        uses[below] -= lost
        dropped = below[uses[below] == 0].astype(np.int64)
        needed[dropped] = False
    return needed
