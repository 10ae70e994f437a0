"""`GateCircuit`: every gate explicit, for small networks, chosen neurons or a cone."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from provnet.circuit.derivations import WeightedPath
from provnet.circuit.gates import Variable
from provnet.errors import CountOverflowError, NonFiniteError, OptionError
from provnet.face.edge_elements import EdgeElements
from provnet.face.gate_pruning import MOST_PATHS, Wish, pruned, threshold_of
from provnet.face.lists import algebra_named, exact_counting
from provnet.face.pages import PAGES
from provnet.face.pruned import joined
from provnet.face.python_values import Values, fold_gates, provenance_of, symbols_of
from provnet.face.root_elements import Elements
from provnet.face.stored_gates import Root, StoredGates
from provnet.face.valued_gates import ValuedGates
from provnet.notebook import card
from provnet.on_use import on_use
from provnet.rules.lrp.base import Rule
from provnet.semirings import annotations
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.base import Semiring
from provnet.semirings.counting import bits, too_many
from provnet.semirings.lookup import get as get_semiring
from provnet.symbolic.carriers.base import Carrier
from provnet.symbolic.expand_polynomial import polynomial
from provnet.symbolic.formula import Formula, formula
from provnet.symbolic.naming import Naming, aliases_of
from provnet.symbolic.polynomial import Polynomial
from provnet.torch_backend.gates.evaluate_gates import evaluate_gates
from provnet.torch_backend.settings import plain_torch
from provnet.writers.base import drawn
from provnet.writers.dot import dot_text
from provnet.writers.picture import svg_of

if TYPE_CHECKING:
    import graphviz
else:
    graphviz = on_use("graphviz")

NOTEBOOK_GATES = 150
"""Gates that a notebook draws unasked."""

MAX_TERMS = 100_000
"""Paths of a root up to which they are written out unasked."""


class GateCircuit(StoredGates):
    """An explicit circuit: a DAG of ⊕ and ⊗ gates over variables, one root a neuron. Made by `Circuit.gates`.

    Example: `gates = circuit.gates(target=3, at=("fc1", 0)); print(gates.formula()); gates.polynomial()`
    """

    # -- look at it ----------------------------------------------------------------------------------------------------

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
        rule, annotation   where the values come from, as of `valued`.
        Raises: `LimitError` above `limit` gates. Example: `gates.draw(values="viterbi").render("gates", format="svg")`
        """
        if values is not None:
            return self._valued(values, None, rule, annotation).draw(aliases, limit)
        return graphviz.Source(dot_text(drawn(self.store, limit), Naming(aliases_of(aliases))))

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
        return card(repr(self.with_note(self.store, None)), lines, ["roots"], rows, code=code, picture=picture or "")

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
        return self.with_note(store, joined(self.pruned, left), rule)

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
        plus, times, zero, one   the operations on such elements and their neutral elements.
        Raises: `ValuationError` for a missing or unknown variable, `UnsupportedOperationError` for a law not stated.
        Each gate is visited once; operands are folded from the left. Source: [Gro24] 4.4.
        """
        return fold_gates(self.store, values, plus, times, zero, one, laws)

    # -- under a valuation ---------------------------------------------------------------------------------------------

    @plain_torch()
    def valued(
        self,
        semiring: str | Semiring = "real",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        dtype: torch.dtype | None = None,
        exact: bool = False,
    ) -> ValuedGates[GateCircuit]:
        """Return the circuit with its variables' values, which are taken once and asked many questions.

        valuation   a tensor in the order of `variables`, or a mapping by variable; None: that of `rule` and
                    `annotation`.
        rule        None: the rule that the gates were pruned by, else "zero".   annotation   None: the semiring's own.
        dtype       floating dtype of the values; None: the model's, at least float32, or the valuation's.
        exact       whole numbers of any size, for "counting": `CountOverflowError` advises it.
        Raises: `ValuationError`, `OptionError`, `UnsupportedOperationError` where no rule gives values.
        Example: `valued = gates.valued("viterbi"); valued.evaluate(); valued.best_paths(k=3)`
        """
        algebra = exact_counting(get_semiring(semiring)) if exact else get_semiring(semiring)
        if algebra.residues and not _are_residues(algebra, valuation):
            algebra = self._sized(algebra, valuation, rule, annotation)
        return self._valued(algebra, valuation, rule, annotation, dtype)

    def _valued(
        self,
        semiring: str | Semiring,
        valuation: Tensor | Mapping[Any, Any] | None,
        rule: str | Rule | None,
        annotation: str | Annotation | None,
        dtype: torch.dtype | None = None,
    ) -> ValuedGates[GateCircuit]:
        """Return the values; whole numbers become residues where the semiring holds counts as such."""
        algebra = get_semiring(semiring)
        if algebra.residues and valuation is not None and not _are_residues(algebra, valuation):
            whole = self.elements(algebra.held("raise"), valuation)
            return ValuedGates(self, algebra, algebra.encode(whole))
        return ValuedGates(self, algebra, self.elements(algebra, valuation, rule, annotation, dtype))

    def values(
        self,
        semiring: str | Semiring = "real",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
    ) -> EdgeElements:
        """Return {variable: its value}, backed by one tensor. Values come as in `evaluate`.

        semiring, valuation, rule, annotation   as of `valued`.
        """
        return self._valued(semiring, valuation, rule, annotation).values

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
        semiring, valuation, rule, annotation   as of `valued`.
        """
        return self._valued(semiring, valuation, rule, annotation).sorted().gates

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

        semiring, valuation, rule, annotation   as of `valued`.
        Example: `print(*gates.sentences("input[1]", aliases={"input": ["age", "height", "weight"]}), sep="\n")`
        """
        return self._valued(semiring, valuation, rule, annotation).sentences(root, k, aliases)

    @plain_torch()
    def evaluate(
        self,
        semiring: str | Semiring | Carrier[Any] = "real",
        valuation: Tensor | Mapping[Any, Any] | None = None,
        rule: str | Rule | None = None,
        annotation: str | Annotation | None = None,
        dtype: torch.dtype | None = None,
        exact: bool = False,
    ) -> Elements:
        """Return {root: element} under a valuation: a tensor in the order of `variables`, a mapping, or None for that
        of `rule` (None: the one that the gates were pruned by, else "zero") and `annotation`.

        A symbolic semiring ("why", "posbool", "formula", …) has symbols for elements: without a valuation each variable
        is itself, as `provenance` says, which also takes a limit.

        exact   whole numbers of any size, for "counting" and semirings over counts: `CountOverflowError` advises it.

        semiring    a name or an object.   dtype   floating dtype of the values, as of `valued`.
        Source: evaluation is the homomorphism ℕ[X] -> K that extends the valuation ([GKT07] Prop. 4.2).
        """
        algebra = algebra_named(semiring)
        if isinstance(algebra, Carrier):
            return self._symbols(algebra, valuation, rule, annotation, plain=dtype is None and not exact)
        algebra = exact_counting(algebra) if exact else algebra
        if algebra.residues and not _are_residues(algebra, valuation):
            algebra = self._sized(algebra, valuation, rule, annotation)
        *lower, highest = algebra.ladder()
        for rung in lower:
            with suppress(CountOverflowError):
                return self._valued(rung, valuation, rule, annotation, dtype).evaluate()
        return self._valued(highest, valuation, rule, annotation, dtype).evaluate()

    def _symbols(
        self,
        carrier: Carrier[Any],
        valuation: Tensor | Mapping[Any, Any] | None,
        rule: str | Rule | None,
        annotation: str | Annotation | None,
        plain: bool,
    ) -> Elements:
        if isinstance(valuation, Tensor) or not plain:
            raise OptionError(
                f"the elements of {carrier.name!r} are symbols: a valuation is a mapping from variables to elements, "
                "or none, and neither a dtype nor exact counts are for them."
            )
        found = symbols_of(self._supported(annotation, rule).store, carrier, valuation, MAX_TERMS)
        return Elements(list(found), list(found.values()), lambda element: element)

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
        semiring, valuation, rule, annotation, dtype   as of `valued`.
        Source, proof: `provnet.circuit.adjoint`. Raises `UnsupportedOperationError` after a simplification by
        absorption.
        """
        return self._valued(semiring, valuation, rule, annotation, dtype).marginals(root)

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

        semiring, valuation, rule, annotation, dtype   as of `valued`.
        Source: `provnet.torch_backend.gates.best_paths`. Raises `UnsupportedOperationError` in other semirings.
        """
        return self._valued(semiring, valuation, rule, annotation, dtype).best_paths(root, k)

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


def _are_residues(algebra: Semiring, valuation: Any) -> bool:
    """Return whether a valuation holds residues modulo the primes of a semiring, as the caller made them."""
    axes = len(algebra.element_shape)
    return isinstance(valuation, Tensor) and valuation.dim() > axes and valuation.shape[-axes:] == algebra.element_shape
