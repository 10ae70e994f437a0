"""Circuits made of circuits, and what tells two executions' circuits apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from provnet.circuit import combine
from provnet.circuit.fingerprint import structural_hashes
from provnet.circuit.gates import VARIABLE, GateStore, Variable
from provnet.circuit.hash_cons import restrict
from provnet.circuit.variables import names_of
from provnet.face.gate_circuit import GateCircuit


def union(a: GateCircuit, b: GateCircuit) -> GateCircuit:
    """Return one circuit with the roots of both; equal gates are one. Raises `CircuitError` if they share a root."""
    return GateCircuit(combine.union(a.store, b.store))


def add(a: GateCircuit, b: GateCircuit) -> GateCircuit:
    """Return a ⊕ b, root by root: relevance for either target. Raises `CircuitError` if the roots do not pair up."""
    return GateCircuit(combine.add(a.store, b.store))


def multiply(a: GateCircuit, b: GateCircuit) -> GateCircuit:
    """Return a ⊗ b, root by root: relevance for both targets jointly. Raises `CircuitError` as `add`."""
    return GateCircuit(combine.multiply(a.store, b.store))


@dataclass(frozen=True)
class CircuitDifference:
    """How the circuit of a second execution differs from that of a first: edges by name, roots by structure.

    A max pooling with another winner, another branch of control flow, or a cut path makes edges appear and disappear.
    """

    appeared: tuple[Variable, ...]
    disappeared: tuple[Variable, ...]
    shared: int
    changed_roots: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.appeared or self.disappeared or self.changed_roots)

    def __str__(self) -> str:
        return (
            f"{len(self.appeared)} variables appeared, {len(self.disappeared)} disappeared, {self.shared} are in both; "
            f"{len(self.changed_roots)} roots changed"
        )


def difference(before: GateCircuit, after: GateCircuit) -> CircuitDifference:
    """Return which variables the second circuit has that the first lacks, and the other way round.

    Variables are compared by name, and only those that a root uses; roots that are in both, by their structural hash.
    """
    old, new = _used(before.store), _used(after.store)
    hashes = [dict(zip(map(str, g.roots), structural_hashes(g.store), strict=True)) for g in (before, after)]
    changed = tuple(root for root in hashes[0] if root in hashes[1] and hashes[0][root] != hashes[1][root])
    return CircuitDifference(
        appeared=tuple(new[name] for name in new if name not in old),
        disappeared=tuple(old[name] for name in old if name not in new),
        shared=sum(name in new for name in old),
        changed_roots=changed,
    )


def _used(store: GateStore) -> dict[str, Variable]:
    small = restrict(store)
    names = names_of(store.variables)
    return {names[i]: store.variables[i] for i in np.unique(small.variable[small.kind == VARIABLE]).tolist()}
