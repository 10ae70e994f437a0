"""What explicit gates are: a store, where it comes from, and what its variables may be worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from provnet.circuit.gates import GateStore, Neuron, Variable
from provnet.circuit.graph import from_networkx, to_networkx
from provnet.circuit.hash_cons import restrict
from provnet.circuit.simplify import simplify
from provnet.circuit.variables import VariableTable
from provnet.errors import OptionError
from provnet.face.gate_origin import Origin
from provnet.face.gate_valuation import valuation_of
from provnet.face.pruned import Pruned
from provnet.on_use import on_use
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.semirings.carrier import into_carrier
from provnet.semirings.lookup import get as get_semiring
from provnet.symbolic.canonical import find_gate
from provnet.torch_backend.gates.evaluate_gates import as_tensor
from provnet.torch_backend.settings import plain_torch

if TYPE_CHECKING:
    import networkx as nx
else:
    nx = on_use("networkx")

Root = Neuron | str | int | None
"""A root by its neuron, its name or its number; None: the only one."""


class StoredGates:
    """Explicit gates as far as their store tells; `GateCircuit` adds the questions."""

    def __init__(
        self,
        store: GateStore,
        origin: Origin | None = None,
        pruned: Pruned | None = None,
        rule: str | Rule = "zero",
    ) -> None:
        """Args: `pruned`, what was left out, and `rule`, the one that values come from unless another is given."""
        self.store = store
        self._origin, self._rule = origin, rule
        self.pruned = pruned
        """What these gates were pruned by and what was left out; None: nothing was."""

    @property
    def variables(self) -> Sequence[Variable]:
        """The variables, in the order of valuations."""
        return self.store.variables

    @property
    def roots(self) -> tuple[Neuron, ...]:
        """The neurons whose relevance the circuit gives, row-major, zeros included."""
        return self.store.roots

    def __len__(self) -> int:
        """The number of gates, variables counted."""
        return len(self.store)

    @property
    def has_rule(self) -> bool:
        """Whether a propagation rule gives the variables their values: gates of grain "edge", from an execution."""
        table = self.store.variables
        return self._origin is not None and isinstance(table, VariableTable) and table.grain == "edge"

    def __repr__(self) -> str:
        return (
            f"GateCircuit({len(self):,} gates, {self.store.wires:,} wires, {len(self.variables):,} variables, "
            f"{len(self.roots):,} roots{'' if self.pruned is None else f'; {self.pruned}'})"
        )

    # -- views and files -----------------------------------------------------------------------------------------------

    def to_networkx(self) -> nx.MultiDiGraph:
        """Return the circuit as a networkx graph; parallel wires (x ⊗ x) stay parallel."""
        return to_networkx(self.store)

    @classmethod
    def from_networkx(cls, graph: nx.MultiDiGraph) -> Self:
        """Return the circuit that a networkx graph describes. Raises `ProvnetError` for a cyclic or malformed one."""
        return cls(from_networkx(graph))

    def simplify(self, semiring: str | Semiring | None = None) -> Self:
        """Return an equivalent smaller circuit: by the laws of every semiring, or by those of `semiring` too.

        The result remembers which laws were used and refuses semirings that lack them.
        """
        flags = frozenset() if semiring is None else flags_of(get_semiring(semiring))
        return self.with_store(simplify(self.store, flags))

    def cone(self, *roots: Neuron | str) -> Self:
        """Return the circuit of some of the roots, with the gates they need; variables keep their numbers."""
        return self.with_store(restrict(self.store, root_numbers(self.store, roots)))

    def with_store(self, store: GateStore) -> Self:
        """Return the circuit of another store with the same variables: another shape of these gates, or a part."""
        return type(self)(store, self._origin, self.pruned, self._rule)

    def with_note(self, store: GateStore, note: Pruned | None, rule: str | Rule | None = None) -> Self:
        """Return a part of the circuit, with what was left out of it.

        rule   the rule that values come from by default; None: the same as here.
        store, note   the gates of the part, and what was left out; None: nothing was.
        """
        return type(self)(store, self._origin, note, self._rule if rule is None else rule)

    # -- what the variables are worth ----------------------------------------------------------------------------------

    @plain_torch()
    def elements(
        self,
        semiring: str | Semiring,
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the variables' values as one tensor, [variables, *element_shape], however they are given.

        semiring, valuation, rule, annotation, dtype   as of `GateCircuit.valued`.
        """
        if valuation is None:
            return self.valuation(semiring, rule, annotation, dtype)
        algebra = get_semiring(semiring)
        if isinstance(valuation, Mapping):
            valuation = as_tensor(self.store, valuation, algebra, dtype or torch.float64)
        own = isinstance(valuation, Tensor) and valuation.is_floating_point()
        floating = dtype or (valuation.dtype if own else torch.float64)
        return into_carrier(algebra, valuation, floating, "the valuation")

    @plain_torch()
    def valuation(
        self,
        semiring: str | Semiring,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the value of every variable, [variables, *element_shape]: Θ of the rule's coefficients.

        Only grain `edge` has a valuation from a rule; on a coarser grain, or for a graph of your own, give the values.
        Unit edges that are variables get one, or the derivative's element under a rule that gives them a coefficient.
        semiring, annotation   names or objects; None: the semiring's own Θ.
        dtype   floating dtype of the values; None: the model's, at least float32.
        Raises: `UnsupportedOperationError`; `ValuationError` if the rule gives a value to an edge that the gates lack.
        """
        chosen = lrp.get(self._rule if rule is None else rule)
        return valuation_of(self.store, self._origin, get_semiring(semiring), chosen, annotation, dtype)


def root_numbers(store: GateStore, roots: Sequence[Root]) -> list[int]:
    """Return the numbers within `store.roots` of neurons or names. Raises `UnknownNameError`, `OptionError`."""
    wanted = [find_gate(store, root)[1] for root in roots]
    place = {root: number for number, root in enumerate(store.roots)}
    if lost := [root for root in wanted if root not in place]:
        raise OptionError(f"{lost[0]} is a gate's number and no root: name a neuron, such as {store.roots[0]}.")
    return [place[root] for root in wanted]


def flags_of(semiring: Semiring) -> frozenset[str]:
    """Return the names of the flags that a semiring states and simplification may use."""
    return frozenset(flag for flag in ("idempotent", "absorptive", "times_idempotent") if getattr(semiring, flag))
