"""`GateCircuit`: every gate explicit, for small networks, chosen neurons or a cone."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import graphviz
import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.cone import find_cone
from provnet.circuit.conventions import NAMES, Conventions
from provnet.circuit.derivations import WeightedPath
from provnet.circuit.examples import example_of
from provnet.circuit.expand import expand
from provnet.circuit.gates import VARIABLE, GateStore, Neuron, Variable, spelled
from provnet.circuit.graph import from_networkx, to_networkx
from provnet.circuit.hash_cons import restrict
from provnet.circuit.prune import by_worth
from provnet.circuit.simplify import simplify
from provnet.circuit.variables import EdgeSegment, VariableTable, find_variable
from provnet.errors import (
    CountOverflowError,
    NonFiniteError,
    OptionError,
    TargetError,
    UnknownNameError,
    UnsupportedOperationError,
    ValuationError,
)
from provnet.face.edge_elements import EdgeElements
from provnet.face.gate_pruning import MOST_PATHS, Pruned, Wish, joined, pruned, strengths_of, threshold_of, worths
from provnet.face.lists import exact_counting
from provnet.face.neuron_names import At, neurons_at, output_named
from provnet.face.pages import PAGES
from provnet.face.python_values import Values, fold_gates, provenance_of
from provnet.face.spelling import path_and_index
from provnet.face.switched_off import dead_neurons, reached_neurons, without_sources
from provnet.face.targets import Target, Targets, target_neurons
from provnet.notebook import card
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings import annotations
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.base import Semiring
from provnet.semirings.carrier import into_carrier
from provnet.semirings.counting import bits, too_many
from provnet.semirings.lookup import get as get_semiring
from provnet.symbolic.canonical import find_gate
from provnet.symbolic.expand_polynomial import polynomial
from provnet.symbolic.formula import Formula, formula
from provnet.symbolic.naming import Naming, aliases_of
from provnet.symbolic.polynomial import Polynomial
from provnet.symbolic.sentences import sentence
from provnet.torch_backend.gates.best_paths import best_paths
from provnet.torch_backend.gates.evaluate_gates import as_tensor, evaluate_every_gate, evaluate_gates
from provnet.torch_backend.gates.gate_marginals import gate_marginals
from provnet.torch_backend.settings import plain_torch
from provnet.torch_backend.walk.evaluate import WalkQuestion
from provnet.torch_backend.walk.messages import block_elements
from provnet.torch_backend.walk.workspace import Workspace
from provnet.writers.base import drawn
from provnet.writers.dot import dot_text
from provnet.writers.picture import svg_of

if TYPE_CHECKING:
    from provnet.face.circuit import Circuit

Root = Neuron | str | int | None

VALUATION_TILE = 1 << 20
"""Edges whose values are made at a time."""


class Elements(Mapping[Neuron, Any]):
    """Root -> element, in the order of the roots, backed by one tensor [roots, *element_shape]. Takes names too."""

    def __init__(self, roots: Sequence[Neuron], tensor: Tensor, shown: Callable[[Tensor], Any]) -> None:
        self.roots, self.tensor = tuple(roots), tensor
        self._shown = shown
        self._numbers = {root: number for number, root in enumerate(self.roots)}
        self._names = {str(root): number for number, root in enumerate(self.roots)}

    def __getitem__(self, root: Neuron | str | tuple[Any, ...]) -> Any:
        known: dict[Any, int] = {**self._names} if isinstance(root, str) else {**self._numbers}
        wanted = spelled(root.strip()) if isinstance(root, str) else root
        if isinstance(wanted, tuple):
            wanted, known = str(Neuron(*path_and_index(wanted))), self._names
        if wanted not in known:
            some = ", ".join(map(str, self.roots[:SHOWN_ROOTS]))
            raise UnknownNameError(f"{root!r} is no root of these gates. Roots: {some}.")
        return self._shown(self.tensor[known[wanted]])

    def __iter__(self) -> Iterator[Neuron]:
        return iter(self.roots)

    def __len__(self) -> int:
        return len(self.roots)

    def __repr__(self) -> str:
        shown = [f"{root}: {self[root]}" for root in self.roots[:SHOWN_ROOTS]]
        more = len(self) - len(shown)
        return "{" + ", ".join(shown) + (f", … {more:,} more" if more else "") + "}"


NOTEBOOK_GATES = 150
"""Gates that a notebook draws unasked."""

SHOWN_ROOTS = 10
"""Roots that are printed."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where gates come from, so that a rule can value their variables: a circuit, one example and the conventions.

    `units`: whether unit edges are variables too.
    """

    circuit: Circuit
    batch: int
    conventions: Conventions
    units: bool = False

    def workspace(self, floating: torch.dtype, rule: Rule) -> Workspace:
        """Return the blocks that the gates stand for, ready for a rule's coefficients."""
        return self.circuit.workspace(floating, rule, self.conventions)


class GateCircuit:
    """An explicit circuit: a DAG of ⊕ and ⊗ gates over variables, one root a neuron. Made by `Circuit.gates`.

    Example: `gates = circuit.gates(target=3, at=("fc1", 0)); print(gates.formula()); gates.polynomial()`
    """

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

    # -- what it is ----------------------------------------------------------------------------------------------------

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

    def draw(
        self,
        values: str | Semiring | None = None,
        aliases: Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        limit: int = 500,
    ) -> graphviz.Source:
        """Return a drawing of every gate, which notebooks show and `render("gates", format="pdf")` writes.

        values    a semiring: each variable's value stands before it, and the strongest wires are the widest.
        aliases   other names for neurons, as `Formula.shown` takes them.
        limit     the most gates; of more, draw a part: `gates.prune(keep=10).draw()`.
        Raises: `LimitError` above `limit` gates. Example: `gates.draw(values="viterbi").render("gates", format="svg")`
        """
        below = drawn(self.store, limit)
        if values is None:
            return graphviz.Source(dot_text(below, Naming(aliases_of(aliases))))
        algebra = get_semiring(values)
        valued = self.values(algebra, None, rule, annotation)
        numbers = [find_variable(self.variables, variable) for variable in below.variables]
        found = evaluate_every_gate(below, algebra, valued.tensor[numbers]).cpu()
        strength = strengths_of(worths(algebra, found))
        return graphviz.Source(dot_text(below, Naming(aliases_of(aliases), valued), strength))

    def studio(self, **options: Any) -> Any:
        """Serve a page on which the gates are walked, on this machine only, and open it in the browser.

        options   of `provnet.inspection.studio`: port, browser=False, semirings, rule, theta, valuation.

        Returns: a `Studio`: `url`, `stop()`, `wait()`; also a context manager. Raises: `OutputError` for a port that
        is taken. Example: `studio = gates.studio(browser=False); print(studio.url); studio.stop()`
        """
        return PAGES.get("studio")(self, **options)

    def _repr_html_(self) -> str:
        lines = [] if self.pruned is None else [str(self.pruned)]
        small = len(self.store) <= NOTEBOOK_GATES and len(self.roots) == 1
        code = str(self.formula()) if small else ""
        picture = svg_of(dot_text(drawn(self.store, NOTEBOOK_GATES))) if small else None
        rows = [] if small else [[str(root)] for root in self.roots]
        return card(repr(self.without_note()), lines, ["roots"], rows, code=code, picture=picture or "")

    def without_note(self) -> GateCircuit:
        """Return the same gates without the record of what was left out."""
        return GateCircuit(self.store, self._origin, None, self._rule)

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
    def from_networkx(cls, graph: nx.MultiDiGraph) -> GateCircuit:
        """Return the circuit that a networkx graph describes. Raises `ProvnetError` for a cyclic or malformed one."""
        return cls(from_networkx(graph))

    def simplify(self, semiring: str | Semiring | None = None) -> GateCircuit:
        """Return an equivalent smaller circuit: by the laws of every semiring, or by those of `semiring` too.

        The result remembers which laws were used and refuses semirings that lack them.
        """
        flags = frozenset() if semiring is None else flags_of(get_semiring(semiring))
        return self._with(simplify(self.store, flags))

    def _with(self, store: GateStore) -> GateCircuit:
        return GateCircuit(store, self._origin, self.pruned, self._rule)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def prune(
        self,
        theta: float | Mapping[str, float] | Threshold | None = None,
        *,
        keep: int | None = None,
        share: float | None = None,
        annotation: str | Annotation | None = None,
        semiring: str | Semiring | None = None,
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        max_paths: int = MOST_PATHS,
    ) -> GateCircuit:
        """Return the part of the circuit that matters, and remember what was left out, in `pruned`.

        theta       keep the edges whose coefficient d reaches θ (a number, one by layer, or a `Threshold`); with a
                    `valuation`, or an `annotation` that is no threshold, those whose value in `semiring` does.
        keep        keep the k best paths of each root, in a selective semiring; default: "viterbi".
        share       keep the fewest, heaviest paths of each root that carry this share of the Σ |value| of its paths,
                    in a semiring that adds ("real", the default, "counting", "non-negative").
        annotation, semiring, valuation, rule   where the values come from, as in `evaluate`.
        max_paths   with `share`, the most paths that are listed for a root.

        Variables keep their numbers, so that every valuation fits both circuits; `rule` stays the one that values
        come from by default. Roots that no path is left of are zero.
        Raises: `OptionError`, `UnsupportedOperationError`, `LimitError`.
        Example: `small = gates.prune(share=0.95); print(small.pruned); print(small.formula())`
        """
        wish = Wish(theta, keep, share, semiring, valuation, rule, annotation, max_paths)
        store, left = pruned(self, wish)
        return GateCircuit(store, self._origin, joined(self.pruned, left), self._rule if rule is None else rule)

    @property
    def has_rule(self) -> bool:
        """Whether a propagation rule gives the variables their values: gates of grain "edge", from an execution."""
        table = self.store.variables
        return self._origin is not None and isinstance(table, VariableTable) and table.grain == "edge"

    def _supported(self, annotation: str | Annotation | None, rule: str | Rule | None) -> GateCircuit:
        """Return the circuit of the edges that Θ, a threshold or `Support`, lets through; all of them for None."""
        if annotation is None:
            return self
        return self.prune(annotation=threshold_of(annotation), rule=rule)

    # -- read ----------------------------------------------------------------------------------------------------------

    def formula(
        self,
        root: Root = None,
        *,
        annotation: str | Annotation | None = None,
        rule: str | Rule | None = None,
        aliases: Mapping[Any, Any] | None = None,
        values: str | Semiring | Mapping[str, Any] | None = None,
        sort: str | Semiring | None = None,
    ) -> Formula:
        """Return the formula of a root (neuron, name or number; None: the only one), shared gates as let-bindings.

        annotation   `Support(θ)`: only the edges that pass θ under `rule`.
        aliases      other names for neurons, as `Formula.shown` takes them.
        values       a semiring, or a mapping by variable: write each variable's value before it, 0.31·fc1[3<-17].
        sort         a semiring in whose values the terms of every ⊕ stand, strongest first.
        Example: `print(gates.formula("input[1]", values="real", sort="real", aliases={"fc2": ["cat", "dog"]}))`
        """
        gates = self._supported(annotation, rule)
        store = gates.store if sort is None else gates.sorted(sort, rule=rule).store
        found = formula(store, root)
        if aliases is None and values is None:
            return found
        shown = values if values is None or isinstance(values, Mapping) else gates.values(values, rule=rule)
        return found.shown(aliases, shown)

    def polynomial(
        self,
        root: Root = None,
        max_terms: int = 100_000,
        *,
        annotation: str | Annotation | None = None,
        rule: str | Rule | None = None,
    ) -> Polynomial:
        """Return the provenance polynomial of a root in ℕ[X] ([GKT07]). Raises `LimitError` above `max_terms` terms.

        annotation   `Support(θ)`: only the paths whose edges all pass θ under `rule`.
        """
        return polynomial(self._supported(annotation, rule).store, root, max_terms)

    def values(
        self,
        semiring: str | Semiring = "real",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
    ) -> EdgeElements:
        """Return {variable: its value}, backed by one tensor. Values come as in `evaluate`."""
        return EdgeElements(self.variables, self.elements(semiring, valuation, rule, annotation))

    def sorted(
        self,
        semiring: str | Semiring = "viterbi",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
    ) -> GateCircuit:
        """Return the same circuit with the operands of every ⊕ ordered by their values, strongest first.

        In rings that is by size, in costs the cheapest first. Raises `UnsupportedOperationError` for elements that
        are no numbers.
        """
        algebra = get_semiring(semiring)
        elements = self.elements(algebra, valuation, rule, annotation)
        worth = worths(algebra, evaluate_every_gate(self.store, algebra, elements).cpu())
        return self._with(by_worth(self.store, worth))

    def sentences(
        self,
        root: Root = None,
        k: int = 3,
        semiring: str | Semiring = "viterbi",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        aliases: Mapping[Any, Any] | None = None,
    ) -> list[str]:
        """Return the k best paths from a root to the target as sentences, best first; arguments as of `best_paths`.

        Example: `print(*gates.sentences("input[1]", aliases={"input": ["age", "height", "weight"]}), sep="\n")`
        """
        algebra = get_semiring(semiring)
        elements = self.elements(algebra, valuation, rule, annotation)
        gate, neuron = find_gate(self.store, root)
        naming = Naming(aliases_of(aliases), EdgeElements(self.variables, elements))
        paths = best_paths(self.store, gate, algebra, elements, k)
        return [sentence(path, naming, f"in {algebra.name}", neuron) for path in paths]

    def provenance(
        self,
        carrier: str = "n[x]",
        root: Root = None,
        max_terms: int = 100_000,
        *,
        annotation: str | Annotation | None = None,
        rule: str | Rule | None = None,
    ) -> Any:
        """Return {root: element} in a symbolic semiring by name ("why", "posbool", "formula" …), or one root's element.

        Each variable is itself; with `Support(θ)` as the annotation, only where its edge passes θ under `rule`, and
        zero elsewhere ([GSM25] eq. 7).
        Raises `LimitError` if a root has more paths than `max_terms` and the carrier expands them,
        `UnsupportedOperationError` after a simplification by laws that the carrier lacks.
        """
        return provenance_of(self._supported(annotation, rule).store, carrier, root, max_terms)

    # -- values --------------------------------------------------------------------------------------------------------

    @plain_torch()
    def evaluate(
        self,
        semiring: str | Semiring = "real",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        dtype: torch.dtype | None = None,
        exact: bool = False,
    ) -> Elements:
        """Return {root: element} under a valuation: a tensor in the order of `variables`, a mapping, or None for that
        of `rule` (None: the one that the gates were pruned by, else "zero") and `annotation`.

        exact   whole numbers of any size, for "counting" and semirings over counts: `CountOverflowError` advises it.

        Source: evaluation is the homomorphism ℕ[X] -> K that extends the valuation ([GKT07] Prop. 4.2).
        """
        algebra = exact_counting(get_semiring(semiring)) if exact else get_semiring(semiring)
        if algebra.residues and not _are_residues(algebra, valuation):
            algebra = self._sized(algebra, valuation, rule, annotation)
        *lower, highest = algebra.ladder()
        for rung in lower:
            with suppress(CountOverflowError):
                return self._evaluate(rung, valuation, rule, annotation, dtype)
        return self._evaluate(highest, valuation, rule, annotation, dtype)

    def _evaluate(
        self,
        algebra: Semiring,
        valuation: Tensor | Mapping[Any, Any] | None,
        rule: str | Rule | None,
        annotation: str | Annotation | None,
        dtype: torch.dtype | None,
    ) -> Elements:
        """Evaluate with counts held as `algebra` holds them; whole numbers become residues where it has some."""
        if algebra.residues and valuation is not None and not _are_residues(algebra, valuation):
            elements = algebra.encode(self.elements(algebra.held("raise"), valuation))
        else:
            elements = self.elements(algebra, valuation, rule, annotation, dtype)
        found = evaluate_gates(self.store, algebra, elements)
        return Elements(self.roots, found, _decoded(algebra) if algebra.residues else lambda element: element)

    def _sized(
        self,
        algebra: Semiring,
        valuation: Tensor | Mapping[Any, Any] | None,
        rule: str | Rule | None,
        annotation: str | Annotation | None,
    ) -> Semiring:
        """Return the semiring with primes enough for the largest count of a root, which float64 tells first."""
        whole, largest = algebra.held("raise"), 0.0
        theta = annotations.resolve(annotation, whole) if valuation is None else None
        given = () if valuation is None else (self.elements(whole, valuation),)
        for part, own, counts in whole.parts(theta, *given):
            if not part.wraps:
                continue
            rough = part.held("float64")
            values = counts[0].to(torch.float64) if counts else self.elements(rough, None, rule, own)
            try:
                roots = evaluate_gates(self.store, rough, values)
            except NonFiniteError as error:
                raise too_many() from error
            largest = max(largest, float(roots.max()) if roots.numel() else 0.0)
        return algebra.with_primes(bits(largest))

    def fold(
        self,
        values: Mapping[Any, Any] | Callable[[Variable], Any],
        plus: Callable[[Any, Any], Any] = operator.add,
        times: Callable[[Any, Any], Any] = operator.mul,
        zero: Any = 0,
        one: Any = 1,
        laws: Collection[str] = ("commutative",),
    ) -> Values:
        """Return {root: element} for elements that are any Python objects, such as fractions, sympy symbols, sets.

        values   by variable or its name, or a function of the variable.
        laws     what plus and times satisfy ("commutative", "idempotent", "absorptive", "times_idempotent"): a
                 circuit that was merged or simplified by a law asks for it.
        Raises: `ValuationError` for a missing or unknown variable, `UnsupportedOperationError` for a law not stated.
        Each gate is visited once; operands are folded from the left. Source: [Gro24] 4.4.
        """
        return fold_gates(self.store, values, plus, times, zero, one, laws)

    @plain_torch()
    def elements(
        self,
        semiring: str | Semiring,
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the variables' values as one tensor, [variables, *element_shape], however they are given."""
        if valuation is None:
            return self.valuation(semiring, rule, annotation, dtype)
        algebra = get_semiring(semiring)
        if isinstance(valuation, Mapping):
            valuation = as_tensor(self.store, valuation, algebra, dtype or torch.float64)
        own = isinstance(valuation, Tensor) and valuation.is_floating_point()
        floating = dtype or (valuation.dtype if own else torch.float64)
        return into_carrier(algebra, valuation, floating, "the valuation")

    def marginals(
        self,
        semiring: str | Semiring = "real",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        root: Root = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        dtype: torch.dtype | None = None,
    ) -> EdgeElements:
        """Return {variable: the value of all paths that use it}, of one root or (None) of the ⊕ of all.

        In Boolean the relevant subnetwork, in Viterbi the best path through each edge. Values as in `evaluate`.
        Source, proof: `provnet.circuit.adjoint`. Raises `UnsupportedOperationError` after a simplification by
        absorption.
        """
        algebra = get_semiring(semiring)
        elements = self.elements(algebra, valuation, rule, annotation, dtype)
        roots = None if root is None else root_numbers(self.store, [root])
        found = gate_marginals(self.store, algebra, elements, roots)
        return EdgeElements(self.variables, found, axis=found.dim() - 1 - len(algebra.element_shape))

    def best_paths(
        self,
        root: Root = None,
        k: int = 1,
        semiring: str | Semiring = "viterbi",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        dtype: torch.dtype | None = None,
    ) -> list[WeightedPath]:
        """Return the k best paths from a root to the target, with their edges, best first; in a selective semiring.

        Source: `provnet.torch_backend.gates.best_paths`. Raises `UnsupportedOperationError` in other semirings.
        """
        algebra = get_semiring(semiring)
        elements = self.elements(algebra, valuation, rule, annotation, dtype)
        return best_paths(self.store, find_gate(self.store, root)[0], algebra, elements, k)

    def cone(self, *roots: Neuron | str) -> GateCircuit:
        """Return the circuit of some of the roots, with the gates they need; variables keep their numbers."""
        return self._with(restrict(self.store, root_numbers(self.store, roots)))

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
        Raises: `UnsupportedOperationError`; `ValuationError` if the rule gives a value to an edge that the gates lack.
        """
        origin, table = self._origin, self.store.variables
        if origin is None or not isinstance(table, VariableTable) or table.grain != "edge":
            raise UnsupportedOperationError(
                "only gates of grain 'edge' that were made from an execution have a valuation from a rule; give the "
                "values: evaluate(semiring, valuation=...)."
            )
        origin.circuit.check_fresh()
        algebra = get_semiring(semiring)
        floating = origin.circuit.floating(dtype)
        device = origin.circuit.data.activations[origin.circuit.data.outputs[0]].handle.device
        like = torch.empty((0, *algebra.element_shape), dtype=algebra.element_dtype(floating), device=device)
        theta = annotations.resolve(annotation, algebra)
        job = WalkQuestion(algebra, theta, lrp.get(self._rule if rule is None else rule), -1, like)
        _refuse_edges(
            origin, job, [segment.block for segment in table.segments if isinstance(segment, EdgeSegment)], floating
        )
        parts = [
            self._segment(origin, segment, job, floating)
            for segment in table.segments
            if isinstance(segment, EdgeSegment)
        ]
        return torch.cat([like, *parts])

    def _segment(self, origin: Origin, segment: EdgeSegment, job: WalkQuestion, floating: torch.dtype) -> Tensor:
        workspace = origin.workspace(floating, job.rule)
        block = workspace.circuit.blocks[segment.block]
        if not block.has_coefficients:
            return unit_elements(origin, segment, job, floating)
        outputs, rows = np.unique(segment.output, return_inverse=True)
        step = max(1, VALUATION_TILE // (block.wiring.fan + 1))
        example = slice(origin.batch, origin.batch + 1)
        found = []
        for start in range(0, len(outputs), step):
            mine = (start <= rows) & (rows < start + step)
            chosen = torch.from_numpy(outputs[start : start + step]).to(job.start.device)
            elements = block_elements(workspace, segment.block, job, chosen, example)[0]
            if elements.shape[1] == segment.fan:  # the bias, if its edges are variables, is absent here
                zero = job.semiring.full((len(elements), 1), job.semiring.zero, elements)
                elements = torch.cat([elements, zero], dim=1)
            found.append(elements[_index(rows[mine] - start, elements), _index(segment.slot[mine], elements)])
        return torch.cat(found)


def _are_residues(algebra: Semiring, valuation: Any) -> bool:
    """Return whether a valuation holds residues modulo the primes of a semiring, as the caller made them."""
    axes = len(algebra.element_shape)
    return isinstance(valuation, Tensor) and valuation.dim() > axes and valuation.shape[-axes:] == algebra.element_shape


def _decoded(algebra: Semiring) -> Callable[[Tensor], Any]:
    """Return what shows an element of residues: a Python integer, or an array of them."""

    def show(element: Tensor) -> Any:
        found = algebra.decode(element)
        return found if found.ndim else found.item()

    return show


def root_numbers(store: GateStore, roots: Sequence[Root]) -> list[int]:
    """Return the numbers within `store.roots` of neurons or names. Raises `UnknownNameError`, `OptionError`."""
    wanted = [find_gate(store, root)[1] for root in roots]
    place = {root: number for number, root in enumerate(store.roots)}
    if lost := [root for root in wanted if root not in place]:
        raise OptionError(f"{lost[0]} is a gate's number and no root: name a neuron, such as {store.roots[0]}.")
    return [place[root] for root in wanted]


def unit_elements(origin: Origin, segment: EdgeSegment, job: WalkQuestion, floating: torch.dtype) -> Tensor:
    """Return the elements of unit edges that are variables, [variables, *element_shape]."""
    edges = origin.workspace(floating, job.rule).unit_edges(segment.block, job.rule)
    if edges is None:
        return job.semiring.full((len(segment),), job.semiring.one, job.start)
    path = origin.circuit.data.blocks[segment.block].path
    elements = job.annotation.at(path)(edges, job.semiring, job.start.dtype)[origin.batch, :, 0]
    return elements[_index(segment.output, elements)]


def _refuse_edges(origin: Origin, job: WalkQuestion, segments: Sequence[int], floating: torch.dtype) -> None:
    """Refuse a rule that gives a value to an edge that the gates lack. Raises `ValuationError`."""
    workspace = origin.workspace(floating, job.rule)
    made = origin.workspace(floating, lrp.get("zero")).circuit.blocks
    for index, block in enumerate(workspace.circuit.blocks):
        if block.kind == "elementwise" and not origin.units and workspace.choice(index, job.rule).rule.units:
            raise ValuationError(
                f"the rule {job.rule!r} gives a coefficient to the unit edges of {block.path!r}, which are no "
                "variables of these gates. Make them with gates(units=True)."
            )
    for index in segments:
        mine, asked = made[index], workspace.circuit.blocks[index]
        if mine.kind == "selection" and asked.kind != "selection":
            pooling = asked.annotation or "proportional"
            raise ValuationError(
                f"the rule gives the losers of the pooling {mine.path!r} a value (pooling={pooling!r}), and "
                f"these gates have its winners only. Make them with gates(pooling={pooling!r})."
            )
        if mine.inputs != asked.inputs or (mine.kind != asked.kind and "selection" not in (mine.kind, asked.kind)):
            raise ValuationError(
                f"the rule {job.rule!r} gives {mine.path!r} ({mine.op}) other edges than these gates have, by "
                f"{mine.convention}. Make the gates under the same convention: gates({mine.convention}=...)."
            )


def _index(numbers: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(numbers).to(like.device)


def flags_of(semiring: Semiring) -> frozenset[str]:
    """Return the names of the flags that a semiring states and simplification may use."""
    return frozenset(flag for flag in ("idempotent", "absorptive", "times_idempotent") if getattr(semiring, flag))


def expand_gates(
    circuit: Circuit,
    target: Target,
    batch: int,
    at: At,
    grain: str,
    conventions: Conventions,
    units: bool,
    biases: bool,
    limit: int,
    output: str | int | None,
    dead: bool = True,
    annotation: str | Annotation | None = None,
    rule: str | Rule = "zero",
    within: Callable[[int], NDArray[np.bool_]] | None = None,
) -> GateCircuit:
    """Return the explicit circuit of one example and one target.

    `dead`: whether neurons that the execution switched off are in it; `annotation`: a threshold on the coefficients of
    `rule`, which the edges pass; None: all edges are there. `within`: activation -> [size], the neurons that edges may
    leave; None: all.
    """
    data = circuit.data
    if not isinstance(batch, int) or not 0 <= batch < data.batch:
        raise TargetError(f"batch={batch!r}: the circuit has {data.batch} examples, 0 to {data.batch - 1}.")
    explained = output_named(data, output)
    neurons = (
        None
        if isinstance(target, Targets)
        else target_neurons(target, data.activations[explained], data.batch, circuit.classes)
    )
    if neurons is None or isinstance(neurons, Tensor):
        raise TargetError(f"gates explain one neuron, or several that start at one; got target={target!r}.")
    roots = [
        (
            activation,
            None
            if index is None
            else [int(np.ravel_multi_index(index, data.activations[activation].shape)) if index else 0],
        )
        for activation, index in neurons_at(data, at)
    ]
    origin = Origin(circuit, batch, conventions, units)
    seen = origin.workspace(circuit.floating(None), lrp.get("zero")).circuit
    every = chosen = _chooser(origin)
    off = {} if dead else dead_neurons(seen, batch)
    if off:
        chosen = without_sources(seen, chosen, off.get)
    if within is not None:
        chosen = without_sources(seen, chosen, lambda activation: ~within(activation))
    theta = None if annotation is None else threshold_of(annotation)
    if theta is not None:
        asked = {name: getattr(conventions, name) for name in NAMES}
        reached = reached_neurons(circuit, batch, target=target, output=output, rule=rule, annotation=theta, **asked)
        chosen = without_sources(seen, chosen, lambda activation: ~reached(activation))
    alone = example_of(seen, batch)
    store = expand(
        alone,
        neurons[batch],
        explained,
        chosen=chosen,
        roots=roots,
        grain=grain,
        units=units,
        biases=biases,
        limit=limit,
    )
    if dead and theta is None:
        return GateCircuit(store, origin)
    numbers = [np.arange(seen.activations[i].size) if n is None else np.array(n, np.int64) for i, n in roots]
    asked_for = [(i, some) for (i, _), some in zip(roots, numbers, strict=True)]
    target_numbers = np.array([neurons[batch]])
    whole = find_cone(alone, explained, target_numbers, asked_for, every, units, biases)
    how = [] if dead else ["without neurons that this execution switched off"]
    how += [] if theta is None else [f"edges with d ≥ θ, {theta!r}"]
    if theta is not None:
        store = GateCircuit(store, origin).prune(annotation=theta, rule=rule).store
    left = Pruned(" and ".join(how), int((store.kind == VARIABLE).sum()), sum(whole.edges.values()))
    return GateCircuit(store, origin, left, rule)


def _chooser(origin: Origin) -> Callable[[int, NDArray[np.int64]], NDArray[np.bool_] | None]:
    """Return which slots of a block are present in this example, for what the wiring cannot know: winners, padding."""
    zero, batch = lrp.get("zero"), origin.batch
    workspace = origin.workspace(origin.circuit.floating(None), zero)

    def chosen(index: int, outputs: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        block = workspace.circuit.blocks[index]
        padding = any(workspace.circuit.activations[i].padding is not None for i in block.reads)
        if not padding and block.kind != "selection":
            return None
        edges = workspace.prepared(index, zero).at(
            _index(outputs, workspace.rows(block.inputs[0])), slice(batch, batch + 1)
        )
        if edges.present is None:
            return None
        present = edges.present[..., : block.wiring.fan]
        return present.expand(1, len(outputs), block.wiring.fan)[0].cpu().numpy()

    return chosen
