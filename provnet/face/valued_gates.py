"""`ValuedGates`: explicit gates with a value for every variable, which is taken once and asked many questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from torch import Tensor

from provnet.circuit.derivations import WeightedPath
from provnet.circuit.prune import by_worth
from provnet.circuit.variables import find_variable
from provnet.face.edge_elements import EdgeElements
from provnet.face.gate_pruning import MOST_PATHS, Wish, pruned, strengths_of, worths
from provnet.face.pruned import joined
from provnet.face.root_elements import Elements
from provnet.face.stored_gates import Root, StoredGates, root_numbers
from provnet.on_use import on_use
from provnet.semirings.base import Semiring
from provnet.symbolic.canonical import find_gate
from provnet.symbolic.formula import Formula, formula
from provnet.symbolic.naming import Naming, aliases_of
from provnet.symbolic.sentences import sentence
from provnet.torch_backend.gates.best_paths import best_paths
from provnet.torch_backend.gates.evaluate_gates import evaluate_every_gate, evaluate_gates
from provnet.torch_backend.gates.gate_marginals import gate_marginals
from provnet.torch_backend.settings import plain_torch
from provnet.writers.base import drawn
from provnet.writers.dot import dot_text

if TYPE_CHECKING:
    import graphviz
else:
    graphviz = on_use("graphviz")

G = TypeVar("G", bound=StoredGates)


class ValuedGates(Generic[G]):
    """Gates under one valuation: values, roots' elements, marginals, best paths. Made by `GateCircuit.valued`.

    gates      the circuit.   semiring   the algebra of the values.
    elements   the variables' values, [variables, *element_shape].
    Example: `valued = gates.valued("viterbi"); valued.evaluate(); valued.best_paths(k=3); valued.marginals()`
    """

    def __init__(self, gates: G, semiring: Semiring, elements: Tensor) -> None:
        self.gates, self.semiring, self.elements = gates, semiring, elements

    def __repr__(self) -> str:
        return f"ValuedGates({self.gates!r}, in {self.semiring.name})"

    @property
    def values(self) -> EdgeElements:
        """The variables' values, as {variable: value}."""
        return EdgeElements(self.gates.variables, self.elements)

    @plain_torch()
    def evaluate(self) -> Elements:
        """Return {root: element}. Source: evaluation is the homomorphism ℕ[X] -> K that extends the valuation
        ([GKT07] Prop. 4.2)."""
        found = evaluate_gates(self.gates.store, self.semiring, self.elements)
        shown = _decoded(self.semiring) if self.semiring.residues else _as_it_is
        return Elements(self.gates.roots, found, shown)

    def marginals(self, root: Root = None) -> EdgeElements:
        """Return {variable: the value of all paths that use it}.

        root   the paths of this root; None: of the ⊕ of all roots.
        Source, proof: `provnet.circuit.adjoint`. Raises `UnsupportedOperationError` after a simplification by
        absorption.
        """
        roots = None if root is None else root_numbers(self.gates.store, [root])
        found = gate_marginals(self.gates.store, self.semiring, self.elements, roots)
        return EdgeElements(self.gates.variables, found, axis=found.dim() - 1 - len(self.semiring.element_shape))

    def best_paths(self, root: Root = None, k: int = 1) -> list[WeightedPath]:
        """Return the k best paths from a root (None: the only one) to the target, with their edges, best first.

        Source: `provnet.torch_backend.gates.best_paths`. Raises `UnsupportedOperationError` where ⊕ does not choose.
        """
        gate, _ = find_gate(self.gates.store, root)
        return best_paths(self.gates.store, gate, self.semiring, self.elements, k)

    def sentences(self, root: Root = None, k: int = 3, aliases: Mapping[Any, Any] | None = None) -> list[str]:
        """Return the k best paths of a root (None: the only one) as sentences, best first.

        aliases   other names for neurons, as `Formula.shown` takes them.
        """
        _, neuron = find_gate(self.gates.store, root)
        naming = Naming(aliases_of(aliases), self.values)
        return [sentence(path, naming, f"in {self.semiring.name}", neuron) for path in self.best_paths(root, k)]

    @cached_property
    def _of_every_gate(self) -> Tensor:
        return evaluate_every_gate(self.gates.store, self.semiring, self.elements).cpu()

    def sorted(self) -> ValuedGates[G]:
        """Return the same circuit with the operands of every ⊕ ordered by their values, strongest first.

        In rings that is by size, in costs the cheapest first. Raises `UnsupportedOperationError` for elements that
        are no numbers.
        """
        store = by_worth(self.gates.store, worths(self.semiring, self._of_every_gate))
        return ValuedGates(self.gates.with_store(store), self.semiring, self.elements)

    def prune(
        self,
        theta: float | None = None,
        *,
        keep: int | None = None,
        share: float | None = None,
        max_paths: int = MOST_PATHS,
    ) -> ValuedGates[G]:
        """Return the part that matters, under the same values; `pruned.gates.pruned` says what was left out.

        theta       keep the edges whose value reaches θ.
        keep        keep the k best paths of each root, in a selective semiring.
        share       keep the fewest, heaviest paths of each root that carry this share of the Σ |value| of its paths.
        max_paths   with `share`, the most paths that are listed for a root.
        Raises: `OptionError`, `UnsupportedOperationError`, `LimitError`.
        """
        wish = Wish(theta, keep, share, self.semiring, self.elements, None, None, max_paths)
        store, left = pruned(self.gates, wish)
        part = self.gates.with_note(store, joined(self.gates.pruned, left))
        return ValuedGates(part, self.semiring, self.elements)

    def formula(self, root: Root = None, aliases: Mapping[Any, Any] | None = None) -> Formula:
        """Return the formula of a root (None: the only one) with each variable's value before it, 0.31·fc1[3<-17].

        aliases   other names for neurons, as `Formula.shown` takes them.
        """
        return formula(self.gates.store, root).shown(aliases, self.values)

    def draw(self, aliases: Mapping[Any, Any] | None = None, limit: int = 500) -> graphviz.Source:
        """Return a drawing of every gate: each variable's value stands before it, the strongest wires are the widest.

        aliases   other names for neurons, as `Formula.shown` takes them.   limit   the most gates.
        Raises: `LimitError` above `limit` gates.
        """
        below = drawn(self.gates.store, limit)
        numbers = [find_variable(self.gates.variables, variable) for variable in below.variables]
        found = evaluate_every_gate(below, self.semiring, self.elements[numbers]).cpu()
        strength = strengths_of(worths(self.semiring, found))
        return graphviz.Source(dot_text(below, Naming(aliases_of(aliases), self.values), strength))


def _decoded(algebra: Semiring) -> Callable[[Tensor], Any]:
    """Return what shows an element of residues: a Python integer, or an array of them."""

    def show(element: Tensor) -> Any:
        found = algebra.decode(element)
        return found if found.ndim else found.item()

    return show


def _as_it_is(element: Tensor) -> Tensor:
    return element
