"""Are two circuits the same? By identity testing, and by hashes that can be kept."""

from __future__ import annotations

from provnet.circuit.fingerprint import structural_hashes
from provnet.errors import UnsupportedOperationError
from provnet.face.gate_circuit import GateCircuit
from provnet.torch_backend.gates.polynomial_identity import Equivalence, identity_test, semantic_hashes


def equivalent(a: GateCircuit, b: GateCircuit, trials: int = 2, seed: int | None = None) -> Equivalence:
    """Return whether two circuits have the same provenance polynomials, root by root, variables matched by name.

    The answer is true or false; "different" is certain, "equal" carries a bound on its probability of being wrong, and
    holds in every commutative semiring. Source, proof: `provnet.torch_backend.gates.polynomial_identity`.

    Example: `equivalent(gates, gates.simplify())` is true.
    """
    if not (isinstance(a, GateCircuit) and isinstance(b, GateCircuit)):
        raise UnsupportedOperationError(
            f"got {type(a).__name__} and {type(b).__name__}: make gates first, circuit.gates(target=...)."
        )
    return identity_test(a.store, b.store, trials, seed)


def structural_hash(gates: GateCircuit) -> dict[str, str]:
    """Return {root: hash}: equal where circuits are built alike, up to numbering, sharing and the order of operands."""
    return dict(zip(map(str, gates.roots), structural_hashes(gates.store), strict=True))


def semantic_hash(gates: GateCircuit, key: int = 0) -> dict[str, str]:
    """Return {root: hash}: equal where polynomials are equal, however they are written."""
    return dict(zip(map(str, gates.roots), semantic_hashes(gates.store, key), strict=True))
