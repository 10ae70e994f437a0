"""The slow twins of everything that is asked about paths: polynomials by recursion, sets of edges one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from math import prod

from hypothesis import strategies as st

from provnet.circuit.counts import count_terms
from provnet.circuit.gates import ONE, PLUS, VARIABLE, ZERO, GateStore
from provnet.circuit.lengths import degree_bounds
from tests.gate_circuits import Polynomial, fold_polynomials, recursive, stores


def modest_stores(gates: int) -> st.SearchStrategy[GateStore]:
    """Draw gates whose paths can be listed: at most 2,000 of them, of length 200 at most."""

    def modest(store: GateStore) -> bool:
        return max(count_terms(store)) <= 2000 and degree_bounds(store)[1] <= 200

    return stores(gates=gates).filter(modest)


def polynomials(store: GateStore) -> tuple[Polynomial, ...]:
    """Return each root's polynomial, {sorted tuple of variable names: multiplicity}."""
    return fold_polynomials(store, recursive, lambda variable: variable.name)


def total(found: Polynomial, value: Mapping[str, float]) -> float:
    """Return a polynomial's value in ordinary numbers."""
    return sum(count * prod(value[x] for x in monomial) for monomial, count in found.items())


def through(found: Polynomial, x: str) -> Polynomial:
    """Return the part of a polynomial that uses x, each monomial times the exponent of x: x ∂/∂x."""
    return Counter({m: c * m.count(x) for m, c in found.items() if x in m})


def derivations(store: GateStore, gate: int) -> Iterator[tuple[int, ...]]:
    """Yield the variables of every derivation of a gate: one operand of each ⊕, all of each ⊗."""
    kind = store.kind[gate]
    if kind == VARIABLE:
        yield (int(store.variable[gate]),)
    elif kind == ONE:
        yield ()
    elif kind == PLUS:
        for operand in store.operands_of(gate).tolist():
            yield from derivations(store, operand)
    elif kind != ZERO:
        for parts in product(*(list(derivations(store, operand)) for operand in store.operands_of(gate).tolist())):
            yield tuple(x for part in parts for x in part)


def coalitions(names: list[str]) -> Iterator[frozenset[str]]:
    """Yield every set of names."""
    for size in range(len(names) + 1):
        yield from map(frozenset, combinations(names, size))


def within(found: Polynomial, edges: frozenset[str], value: Mapping[str, float]) -> float:
    """Return the value of the paths all of whose edges are among `edges`: the game."""
    return total(Counter({m: c for m, c in found.items() if set(m) <= edges}), value)
