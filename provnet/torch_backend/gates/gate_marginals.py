"""Edge marginals on gates: the value of all paths through each variable, by the circuit of derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from torch import Tensor

from provnet.circuit.adjoint import adjoint
from provnet.circuit.gates import GateStore
from provnet.semirings.base import Semiring
from provnet.torch_backend.gates.evaluate_gates import evaluate_gates

_ADJOINTS: WeakKeyDictionary[GateStore, dict[tuple[int, ...] | None, GateStore]] = WeakKeyDictionary()


def adjoint_of(store: GateStore, roots: Sequence[int] | None) -> GateStore:
    """Return the circuit of all marginals; made once for each choice of roots, kept as long as the store lives."""
    known = _ADJOINTS.setdefault(store, {})
    key = None if roots is None else tuple(roots)
    if key not in known:
        known[key] = adjoint(store, roots)
    return known[key]


def gate_marginals(
    store: GateStore, semiring: Semiring, valuation: Tensor, roots: Sequence[int] | None = None
) -> Tensor:
    """Return the value of all paths through each variable, [variables, *element_shape], batched as the valuation is.

    It is x ⊗ ∂f/∂x for the ⊕ f of the chosen roots (numbers within `store.roots`; None: all): definition, proof and
    source at `circuit.adjoint`. On one root of a network's gates, the ⊕ of the marginals of the edges that leave its
    neuron is the root's value.
    Raises: as `evaluate_gates`; `UnsupportedOperationError` if ⊗ does not commute or paths were absorbed.
    """
    return evaluate_gates(adjoint_of(store, roots), semiring, valuation)
