"""Is a store of gates well formed? Stores from files and from hand-drawn graphs are checked before use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from provnet.circuit.gates import KINDS, PLUS, VARIABLE, GateStore
from provnet.circuit.variables import names_of
from provnet.circuit.variables_spec import segment_faults
from provnet.errors import CircuitError

COLUMNS = {
    "kind": np.dtype(np.uint8),
    "first": np.dtype(np.int64),
    "operands": np.dtype(np.int32),
    "variable": np.dtype(np.int32),
    "root_gates": np.dtype(np.int32),
}
"""The dtypes that compiled loops read."""


def check(store: GateStore) -> GateStore:
    """Return the store. Raises `CircuitError` with every fault that was found, if there is one.

    Well formed means: columns of one length; known kinds; leaves without operands, ⊕ and ⊗ with one or more; operands
    before their gates, which excludes cycles; variables and roots within range, with unique names.
    """
    faults = list(_column_faults(store)) or list(segment_faults(store.variables))
    faults = faults or list(_gate_faults(store)) + list(_name_faults(store))
    if faults:
        raise CircuitError(f"the gates are malformed: {'; '.join(faults)}. Rebuild them, or mend the graph or file.")
    return store


def _column_faults(store: GateStore) -> Iterator[str]:
    """Yield faults that make the gates unreadable."""
    for name, dtype in COLUMNS.items():
        column = getattr(store, name)
        if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype != dtype:
            yield f"`{name}` holds {getattr(column, 'dtype', type(column).__name__)}, and wants a row of {dtype}"
            return
    gates, wires = len(store.kind), len(store.operands)
    if len(store.first) != gates + 1:
        yield f"`first` has {len(store.first)} entries for {gates} gates, and wants one more than gates"
    elif store.first[0] != 0 or store.first[-1] != wires or (np.diff(store.first) < 0).any():
        yield f"`first` must ascend from 0 to the {wires} operands"
    if len(store.variable) != gates:
        yield f"`variable` has {len(store.variable)} entries for {gates} gates"
    if len(store.root_gates) != len(store.roots):
        yield f"{len(store.roots)} roots have {len(store.root_gates)} gates"


def _gate_faults(store: GateStore) -> Iterator[str]:
    gates, fan = np.arange(len(store)), np.diff(store.first)
    inner = store.kind >= PLUS
    yield from _named("an unknown kind", gates[store.kind >= len(KINDS)])
    yield from _named("operands, though they are leaves", gates[~inner & (fan > 0)])
    yield from _named("no operands, though they are no leaves", gates[inner & (fan == 0)])
    owner = np.repeat(gates, fan)
    outside = (store.operands < 0) | (store.operands >= len(store))
    yield from _named("an operand that does not exist", np.unique(owner[outside]))
    late = ~outside & (store.operands >= owner)
    yield from _named("an operand that is the gate itself or comes after it (a cycle?)", np.unique(owner[late]))
    leaf = store.kind == VARIABLE
    known = (store.variable >= 0) & (store.variable < len(store.variables))
    yield from _named(f"a variable outside the {len(store.variables)} there are", gates[leaf & ~known])
    yield from _named("a variable, though they are no variables", gates[~leaf & (store.variable != -1)])
    lost = (store.root_gates < 0) | (store.root_gates >= len(store))
    if lost.any():
        yield f"the root {store.roots[int(np.argmax(lost))]} has a gate that does not exist"


def _name_faults(store: GateStore) -> Iterator[str]:
    names = names_of(store.variables)
    for what, found in (("variables", names), ("roots", [str(root) for root in store.roots])):
        if len(set(found)) < len(found):
            yield f"two {what} are called {Counter(found).most_common(1)[0][0]!r}"


def _named(what: str, gates: np.ndarray) -> Iterator[str]:
    if len(gates):
        few = ", ".join(map(str, gates[:5].tolist()))
        yield f"{len(gates)} gates have {what} ({few}{', …' if len(gates) > 5 else ''})"
