"""Shapley and Banzhaf values of edges in closed form, for the game "relevance on the paths within a set of edges"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from provnet.circuit.adjoint import refuse_absorbed
from provnet.circuit.gates import PLUS, TIMES, VARIABLE, GateStore
from provnet.circuit.hash_cons import restrict
from provnet.circuit.lengths import degree_bounds
from provnet.circuit.variables import VariableTable
from provnet.errors import LimitError, UnsupportedOperationError
from provnet.face.edge_elements import EdgeElements
from provnet.face.gate_circuit import GateCircuit
from provnet.face.stored_gates import Root, root_numbers
from provnet.semirings.base import Semiring
from provnet.semirings.graded import Graded
from provnet.semirings.lookup import get
from provnet.semirings.non_negative import NonNegative
from provnet.semirings.real import Real
from provnet.torch_backend.gates.gate_marginals import gate_marginals

Index = Literal["shapley", "banzhaf"]
MULTILINEAR_LIMIT = 20_000


def shapley_values(
    gates: GateCircuit,
    root: Root = None,
    semiring: str | Semiring = "real",
    valuation: Tensor | Mapping[Any, Any] | None = None,
    **options: Any,
) -> EdgeElements:
    """Return the Shapley value of every edge: φ_e = Σ over the paths through e of (value of the path) / (its length).

    The game: v(S) = the relevance of the root (None: of all roots) that arrives over paths all of whose edges are in
    S, the coefficients held fixed. It is not ablation of the network, where activations and coefficients would change
    too.
    Proof: v = Σ_π value(π) · u_π with the unanimity games u_π(S) = [π ⊆ S]; the Shapley value is linear, and that of
    u_π divides 1 evenly among the edges of π (Shapley 1953). Hence Σ_e φ_e = v(all) − v(∅), paths without an edge
    apart. Where all paths have one length, φ_e is the marginal / length; else marginals are taken in Graded(K, longest
    path). `options`: `rule`, `annotation`, `dtype`, as in `GateCircuit.evaluate`.
    Raises: `UnsupportedOperationError` outside Real and NonNegative (in Boolean or Viterbi a game's value is no sum
    over paths, the closed form is wrong, and the Boolean Shapley value is #P-hard: Livshits et al. 2021), and where
    variables are shared (a path may use one twice).
    """
    return _values("shapley", gates, root, semiring, valuation, options)


def banzhaf_values(
    gates: GateCircuit,
    root: Root = None,
    semiring: str | Semiring = "real",
    valuation: Tensor | Mapping[Any, Any] | None = None,
    **options: Any,
) -> EdgeElements:
    """Return the Banzhaf value of every edge: Σ over the paths through e of (value of the path) / 2^(length − 1).

    The mean of v(S ∪ e) − v(S) over all sets S of other edges; for u_π it is the share of sets that hold the other
    length − 1 edges of π (Banzhaf 1965). Game, options, errors as for `shapley_values`. These do not add up to v.
    """
    return _values("banzhaf", gates, root, semiring, valuation, options)


def _values(
    index: Index, gates: GateCircuit, root: Root, semiring: str | Semiring, valuation: Any, options: dict[str, Any]
) -> EdgeElements:
    algebra = get(semiring)
    if type(algebra) not in (Real, NonNegative):
        raise UnsupportedOperationError(
            f"{index} values in {algebra.name!r}: the closed form needs the value of a set of paths to be the sum of "
            "theirs in ordinary numbers. Take real or non-negative; elsewhere sample sets of edges (Bitset64 takes 64 "
            "at a time)."
        )
    refuse_absorbed(gates.store, f"{index} values")
    require_multilinear(gates.store, f"{index} values")
    elements = gates.elements(algebra, valuation, **options)
    roots = None if root is None else root_numbers(gates.store, [root])
    low, high = degree_bounds(restrict(gates.store, roots))
    if low == high:
        marginals = gate_marginals(gates.store, algebra, elements, roots)
        return EdgeElements(gates.variables, marginals * _share(index, max(high, 1)), axis=marginals.dim() - 1)
    graded = Graded(algebra, high)
    rows = torch.stack([torch.zeros_like(elements), elements, *[torch.zeros_like(elements)] * (high - 1)], -1)
    by_length = gate_marginals(gates.store, graded, rows, roots)
    weights = torch.tensor([0.0, *(_share(index, n) for n in range(1, high + 1))], dtype=rows.dtype, device=rows.device)
    return EdgeElements(gates.variables, (by_length * weights).sum(-1), axis=by_length.dim() - 2)


def _share(index: Index, length: int) -> float:
    return 1 / length if index == "shapley" else 0.5 ** (length - 1)


def require_multilinear(store: GateStore, what: str) -> None:
    """Raise `UnsupportedOperationError` unless no path uses a variable twice.

    So it is on grain `edge`. Of other circuits it is checked that the operands of every ⊗ have no variable in common,
    which suffices; `LimitError` above 20,000 gates.
    """
    table = store.variables
    if isinstance(table, VariableTable):
        if table.grain == "edge":
            return
        raise UnsupportedOperationError(f"{what} are for grain 'edge'; on grain {table.grain!r} edges share variables.")
    if len(store) > MULTILINEAR_LIMIT:
        raise LimitError(f"{what}: these {len(store):,} gates are too many to check that no path repeats a variable.")
    below: list[int] = []
    for gate, kind in enumerate(store.kind.tolist()):
        support, shared = (1 << int(store.variable[gate])) if kind == VARIABLE else 0, 0
        for operand in store.operands_of(gate).tolist() if kind in (PLUS, TIMES) else ():
            shared |= support & below[operand]
            support |= below[operand]
        if kind == TIMES and shared:
            name = store.variables[shared.bit_length() - 1].name
            raise UnsupportedOperationError(f"{what} need paths that use an edge once; {name!r} is used twice.")
        below.append(support)
