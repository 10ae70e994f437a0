"""`Circuit`: one execution's provenance circuit, asked many questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import graphviz
import torch
from torch import Tensor

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.conventions import DEFAULT, NAMES, Conventions
from provnet.errors import OptionError, ReplayError
from provnet.face.freshness import Freshness
from provnet.face.gate_circuit import GateCircuit, expand_gates
from provnet.face.heads import attention_in
from provnet.face.lists import annotations_of, asks_of
from provnet.face.neuron_names import At, masks_of, output_named
from provnet.face.other_inputs import named_inputs
from provnet.face.pages import PAGES
from provnet.face.plan import Plan, Summary, plan_of, summary_of
from provnet.face.recording import Recording
from provnet.face.relevance import Relevance, kept_tensors
from provnet.face.targets import Target
from provnet.face.task import QuestionSetting, tile_of
from provnet.notebook import card
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.semirings.lookup import get as get_semiring
from provnet.semirings.lookup import names as semiring_names
from provnet.torch_backend.settings import plain_torch
from provnet.torch_backend.walk.ranges import coefficient_range
from provnet.torch_backend.walk.workspace import Workspace
from provnet.torch_backend.walk.workspaces import Workspaces
from provnet.writers.blocks_drawing import blocks_dot

SemiringLike = str | Semiring
AnnotationLike = str | Annotation
RuleLike = str | Rule | Mapping[Any, Any]


class Circuit:
    """The provenance circuit of one recorded execution. Made by `provnet.trace` or `provnet.load`.

    It is fixed by the execution; rule, annotation function and semiring give its variables their values.
    Example: `circuit = provnet.trace(model, x); circuit.evaluate("viterbi", target=3).inputs`
    """

    def __init__(
        self,
        data: BlockCircuit,
        live: BlockCircuit | None = None,
        watch_all: bool = False,
        recording: Recording | None = None,
    ) -> None:
        """`live`: the same circuit with tensors that carry autograd's graph, which `data` must not. `recording`: the
        recorded ops, for other batches."""
        self.data, self.live, self.recording = data, live, recording
        self._freshness = Freshness(data, watch_all)
        self._workspaces = Workspaces()
        self._classes: tuple[str, ...] = ()

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def batch(self) -> int:
        """The number of examples."""
        return self.data.batch

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources."""
        return tuple(self.data.activations[source].name for source in self.data.sources)

    @property
    @plain_torch()
    def outputs(self) -> tuple[Tensor, ...]:
        """The recorded outputs of the model, as copies: the circuit reads its own again at every evaluation."""
        self._freshness.check_recorded()
        return tuple(self.data.activations[output].handle.clone() for output in self.data.outputs)

    def activation(self, name: str) -> Tensor:
        """Return the recorded values of a tensor, [batch, …], as a copy.

        name   a path as in `keys()`, such as "conv1" or "fc1:in".
        Raises: `UnknownNameError`; `StaleCircuitError` if the tensor was written to since; as `outputs` does.
        Example: `circuit.activation("fc1").shape[0] == circuit.batch`
        """
        self._freshness.check_recorded()
        return self.data.activations[self.data.find(name)].handle.clone()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the output's entries, for targets and results; set them: `circuit.classes = ["cat", "dog"]`."""
        return self._classes

    @classes.setter
    def classes(self, names: Sequence[str]) -> None:
        found = tuple(map(str, names))
        sizes = {self.data.activations[o].shape[-1] if self.data.activations[o].shape else 1 for o in self.data.outputs}
        if found and len(found) not in sizes:
            raise OptionError(f"{len(found)} names were given for an output of {sorted(sizes)} entries: give one each.")
        self._classes = found

    @property
    def edges(self) -> int:
        """The number of edges that carry variables, an example: padding and unit edges are none."""
        return sum(block.wiring.edges for block in self.data.blocks if block.has_coefficients)

    @property
    def rule(self) -> Rule | None:
        """The propagation rule that was saved with the circuit, for `evaluate(rule=circuit.rule)`; None: none was."""
        return None if self.data.rule is None else lrp.from_json(self.data.rule)

    def keys(self) -> list[str]:
        """Return the names of all recorded tensors."""
        return sorted(self.data.names)

    def heads(self, path: str) -> str:
        """Return the name of what a module's attention gives, heads on its first axis, for `only=` and `at=`.

        Raises: `UnknownNameError`, with the attentions that there are, if the module runs none or several.
        Example: `circuit.evaluate("real", only={circuit.heads("blocks.0.attention"): [2]})`, through head 2 alone
        """
        return self.data.activations[attention_in(self.data, path)].name

    def summary(self) -> Summary:
        """Return a table of the blocks: path, op, shapes, edges, the rule that each takes by default."""
        return summary_of(self.data)

    @plain_torch()
    def plan(
        self,
        semiring: SemiringLike | RuleLike = "real",
        rule: RuleLike | None = None,
        annotation: Any = None,
        coefficients: bool = False,
        **conventions: Any,
    ) -> Plan:
        """Return, before anything is computed, which rule and annotation function each block will get, and why.

        semiring, rule, annotation   in the order of `evaluate`; a rule may stand first: `plan("epsilon")`.
        coefficients   compute the range of each block's coefficients too: as long as one evaluation.
        conventions    bias, pooling, products, softmax, norm, as of `evaluate`.
        Raises: `OptionError` for a rule that cannot apply to a block, `UnknownNameError` for an entry that fits none.
        """
        if not _is_semiring(semiring):
            semiring, rule = ("real" if rule is None else rule), semiring  # type: ignore[assignment]
        algebra = get_semiring(semiring)  # type: ignore[arg-type]
        (theta,) = annotations_of(self.data, [algebra], annotation)
        if coefficients:
            self.check_fresh()
        found, chosen = lrp.get("zero" if rule is None else rule), conventions_of(conventions)
        workspace = self.workspace(self.floating(None), found, chosen)

        def ranges(index: int) -> tuple[float, float] | None:
            return coefficient_range(workspace, index, found)

        return plan_of(workspace, found, algebra, theta, ranges if coefficients else None)

    # -- another batch -------------------------------------------------------------------------------------------------

    def on(self, *inputs: Tensor, check: bool = False, **named: Tensor) -> Circuit:
        """Return the circuit of the same recorded ops on other inputs, in a batch of any size.

        The recorded ops are run again and not the model, and blocks, wirings and weights are those of this circuit, so
        that this costs a forward pass. The result equals a fresh trace to the bit. Other arguments of the model (masks,
        options) stay as they were. The first batch of each new size is compared with the model's own output.
        inputs  one tensor for each source, in the order of `sources`; or by name.
        check   compare with the model's own output in any case: as long as a fresh trace.

        Raises: `ReplayError` where the recording depended on the values of its input (a number that became a Python
        number, a mask or an index computed from values, random numbers), or on its number of examples; `InputError`
        for sources of another shape, dtype or device; `NonFiniteError`; `StaleCircuitError` if a parameter changed.
        Example: `for x in batches: circuit.on(x).evaluate("boolean", target=3)`
        """
        if self.recording is None:
            why = "was loaded from a file, which holds no ops" if self.live is None else "carries autograd's graph"
            raise ReplayError(
                f"this circuit {why}, so it cannot take another input. Trace it: provnet.trace(model, x)."
            )
        given = named_inputs(self.sources, inputs, named)
        self.check_fresh()
        with plain_torch(), torch.inference_mode(False), torch.no_grad():
            data = replace(self.recording.circuit_on(given, check), parameters=self.data.parameters)
            return Circuit(data, recording=self.recording)

    # -- evaluation ----------------------------------------------------------------------------------------------------

    @overload
    def evaluate(
        self,
        semiring: SemiringLike = ...,
        target: Target = ...,
        rule: RuleLike = ...,
        annotation: AnnotationLike | Mapping[str, Any] | None = ...,
        **options: Any,
    ) -> Relevance: ...
    @overload
    def evaluate(
        self,
        semiring: SemiringLike | Sequence[SemiringLike] = ...,
        target: Target = ...,
        rule: RuleLike | Sequence[RuleLike] = ...,
        annotation: AnnotationLike | Mapping[str, Any] | Sequence[AnnotationLike | None] | None = ...,
        **options: Any,
    ) -> list[Relevance]: ...
    @plain_torch()
    def evaluate(  # pyright: ignore[reportInconsistentOverload]  # the options are the same for both, named once
        self,
        semiring: SemiringLike | Sequence[SemiringLike] = "real",
        target: Target = "predicted",
        rule: RuleLike | Sequence[RuleLike] = "zero",
        annotation: Any = None,
        at: At = None,
        sources: bool = True,
        only: Mapping[str, Any] | None = None,
        output: str | int | None = None,
        start: Any = "one",
        bias: bool = True,
        pooling: Literal["winner", "proportional", "seed"] = "winner",
        products: Literal["half", "value", "full"] = "half",
        softmax: Literal["identity", "attnlrp", "constant"] = "identity",
        norm: Literal["detached", "identity"] = "detached",
        dtype: torch.dtype | None = None,
        memory: int | None = None,
        route: str = "auto",
        exact: bool = False,
        measure_memory: bool = False,
        product: bool = False,
    ) -> Relevance | list[Relevance]:
        """Return the relevance of every neuron for the target; of lists, a list of results (work is shared).

        semiring    name, object, or a list of both.
        target      "predicted"; an int or a tuple of indices, a neuron of the output ("fc[3]"), a name in `classes`,
                    for all examples; a list or 1-D tensor, one per example;
                    `Targets(...)` for several results; a tensor shaped like the output, a weighting.
        rule        propagation rule, name or object, or a list: it applies to the linear maps, pooling and sums keep
                    proportions.
        annotation  Θ: None (each semiring's default), one for all, a list, or a mapping by semiring name.
                    Lists of semirings, rules and annotation functions run side by side (result n is of the n-th of
                    each) and must be of one length; what is no list stands for all.
        at          tensors, by path or glob, whose relevance is kept besides the sources'; others are found when
                    asked for, by one more walk for each result: name all that you need.
        sources     False: keep what `at` names alone, and let the walk end at the deepest of these tensors. What lies
                    below is found by one more evaluation, if it is asked for.
        only        {tensor: channels or mask}: relevance passes through these neurons only, so that what comes out is
                    conditional on them. Channels are indices on the first axis of an example; {axis: indices} chooses
                    along other axes ({-1: [7]}, a neuron of a token-wise layer at all tokens); a mask has its shape.
        output      which output, if there are several.   start   "one", "logit", or elements.
        bias        False leaves biases out, of denominators too.   pooling   what a max pooling passes on.
        products    what the two factors of a product of traced tensors get: "half" each, all to the "value" and none
                    to the gate, or the "full" relevance each.
        softmax     what a softmax passes on ("identity", "attnlrp", "constant").
        norm        what a layer, group, instance or RMS norm passes on ("detached", "identity").
                    `circuit.conventions.CONVENTIONS` has a sentence and a source for each value.
        dtype       floating dtype of the evaluation; default: the model's, at least float32.
        memory      bytes that tiles may take. Where memory runs out, tiles are halved anyway; the plan then says so.
        route       "auto", or "reference" for the literal definition.
        exact       counting in Python integers of any size: short for Counting(overflow="exact").
        measure_memory   note the call's peak of memory, in `result.peak_memory`.
        product     True: lists are crossed, every semiring with every rule and both with every annotation function, the
                    last list fastest; each result's `question` says which it answers.

        Raises: `TargetError`, `OptionError`, `UnknownNameError`, `CountOverflowError`, `NonFiniteError`,
        `StaleCircuitError`, `OutOfMemoryError`. Source: [GSM25] eq. 3, 6, 7.
        """
        chosen = Conventions(bias, pooling, products, softmax, norm)
        asks, several = asks_of(self.data, semiring, rule, annotation, exact, product)
        self.check_fresh()
        floating = self.floating(dtype)
        task = QuestionSetting(
            self,
            output_named(self.data, output),
            target,
            chosen,
            start,
            floating,
            route,
            None if memory is None else tile_of(memory, floating),
            masks_of(self.data, only),
        )
        results = task.answer(asks, kept_tensors(self.data, at, sources), measure_memory)
        return results if several else results[0]

    def floating(self, dtype: torch.dtype | None) -> torch.dtype:
        """Return the floating dtype of an evaluation: `dtype`, or the model's, at least float32. Raises
        `OptionError`."""
        if dtype is None:
            held = self.data.activations[self.data.outputs[0]].handle.dtype
            return held if held in (torch.float32, torch.float64) else torch.float32
        if dtype not in (torch.float32, torch.float64):
            raise OptionError(f"dtype={dtype}: relevance is evaluated in torch.float32 or torch.float64.")
        return dtype

    def workspace(
        self, floating: torch.dtype, rule: Rule | None = None, conventions: Conventions = DEFAULT, live: bool = False
    ) -> Workspace:
        """Return what one thread's evaluations in one floating dtype share that see the same blocks.

        live   the one whose tensors carry a graph, if the circuit has it and gradient mode is on.
        """
        graph = live and self.live is not None and torch.is_grad_enabled()
        base = self.live if graph and self.live is not None else self.data
        return self._workspaces.of(base, floating, rule or lrp.Zero(), conventions)

    def check_fresh(self) -> None:
        """Raise `StaleCircuitError` if a tensor that the circuit refers to was changed since tracing."""
        self._freshness.check()

    # -- gates ---------------------------------------------------------------------------------------------------------

    @plain_torch()
    def gates(
        self,
        target: Target = "predicted",
        batch: int = 0,
        at: At = None,
        grain: Literal["edge", "parameter", "channel", "block", "source"] = "edge",
        pooling: Literal["winner", "proportional", "seed"] = "winner",
        products: Literal["half", "value", "full"] = "half",
        units: bool = False,
        biases: bool = False,
        limit: int = 1_000_000,
        output: str | int | None = None,
        softmax: Literal["identity", "attnlrp", "constant"] = "identity",
        norm: Literal["detached", "identity"] = "detached",
        dead: bool = True,
        annotation: AnnotationLike | None = None,
        rule: RuleLike = "zero",
    ) -> GateCircuit:
        """Return the explicit circuit of one example: every ⊕, ⊗ and variable between the target and the roots.

        at      the neurons whose relevance the circuit gives, (path, index…), or whole tensors; default: the sources.
        grain   what a variable stands for.   units   make unit edges variables too.   biases   add bias neurons.
        limit   the largest number of gates, counted before any is made. Raises `LimitError` with the exact count.
        pooling, products, softmax, norm   which edges there are, as of `evaluate`.
        dead    False leaves out what leaves a neuron that an activation function set to 0 in this execution. By
                default the circuit is structural: it has the network's edges whatever their numbers are, so that one
                circuit holds for all valuations. XOR traced at its four inputs has one circuit, and four without what
                is dead.
        annotation, rule   `Support(θ)`: only the edges whose coefficient under `rule` reaches θ. Neurons that no such
                edge leads to are never looked at, so this also serves circuits that are too large as a whole.
        `gates.pruned` says what was left out.
        """
        chosen = Conventions(True, pooling, products, softmax, norm)
        self.check_fresh()
        return expand_gates(
            self, target, batch, at, grain, chosen, units, biases, limit, output, dead, annotation, lrp.get(rule)
        )

    def provenance(
        self,
        carrier: str = "n[x]",
        root: Any = None,
        annotation: AnnotationLike | None = None,
        rule: RuleLike = "zero",
        max_terms: int = 100_000,
        **options: Any,
    ) -> Any:
        """Return {root: element} in a symbolic semiring by name ("why", "posbool", "formula" …), or one root's element.

        annotation   `Support(θ)`: each edge's own variable where its coefficient under `rule` reaches θ, else zero
                     ([GSM25] eq. 7). None: every edge's variable.
        options      go to `gates`: target, batch, at, limit and their kin.
        Raises: as `gates` and `GateCircuit.provenance` do.
        Example: `circuit.provenance("why", annotation=provnet.annotations.Support(0.1), at=("input", 3))`
        """
        found = self.gates(annotation=annotation, rule=rule, **options)
        return found.provenance(carrier, root, max_terms)

    # -- pages ---------------------------------------------------------------------------------------------------------

    def studio(self, **options: Any) -> Any:
        """Serve a page on which the circuit is walked, on this machine only, and open it in the browser.

        options   of `provnet.applications.inspection.studio`: port, browser=False, the question that the page opens
                  with (semiring, rule, target, example, theta), classes, more semirings and rules by name, output.

        Returns: a `Studio`: `url`, `stop()`, `wait()`; also a context manager. Raises: `OutputError` for a port that
        is taken.
        Example: `studio = circuit.studio(browser=False); print(studio.url); studio.stop()`
        """
        return PAGES.get("studio")(self, **options)

    def draw(self, limit: int = 400) -> graphviz.Source:
        """Return a drawing of the blocks, which notebooks show and `render("circuit", format="pdf")` writes.

        limit   the most blocks. For every gate see `gates(...).draw()`.
        Raises: `LimitError` above `limit` blocks. Example: `circuit.draw().render("circuit", format="svg")`
        """
        return graphviz.Source(blocks_dot(self.data, limit))

    def _repr_html_(self) -> str:
        summary = self.summary()
        rows = [[getattr(row, name) for name in summary.columns] for row in summary.rows]
        return card(repr(self), columns=summary.columns, rows=rows)

    def __repr__(self) -> str:
        data = self.data
        return (
            f"Circuit({data.model}, batch {data.batch}, {len(data.blocks)} blocks, {self.edges:,} edges an example, "
            f"sources {', '.join(self.sources)})"
        )


def _is_semiring(given: Any) -> bool:
    """Return whether an argument is a semiring, by object or by name."""
    return given in semiring_names() if isinstance(given, str) else isinstance(given, Semiring)


def conventions_of(given: Mapping[str, Any]) -> Conventions:
    """Return conventions from keyword arguments. Raises: `OptionError` for a name or a value that is none."""
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise OptionError(f"{unknown[0]!r} is no convention; take {', '.join(NAMES)}.")
    return Conventions(**given)
