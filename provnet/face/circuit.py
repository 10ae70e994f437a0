"""`Circuit`: one execution's provenance circuit, asked many questions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor

from provnet.circuit.conventions import NAMES, Conventions
from provnet.errors import OptionError, ReplayError
from provnet.face.circuit_description import DescribedCircuit
from provnet.face.evaluation import answers
from provnet.face.gate_circuit import GateCircuit
from provnet.face.gate_expansion import expand_gates
from provnet.face.lists import annotations_of
from provnet.face.neuron_names import At
from provnet.face.other_inputs import named_inputs
from provnet.face.pages import PAGES
from provnet.face.plan import Plan, plan_of
from provnet.face.relevance import Relevance
from provnet.face.session import Session
from provnet.face.targets import Target
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.semirings.lookup import get as get_semiring
from provnet.semirings.lookup import names as semiring_names
from provnet.torch_backend.settings import plain_torch
from provnet.torch_backend.walk.ranges import coefficient_range

SemiringLike = str | Semiring
AnnotationLike = str | Annotation
RuleLike = str | Rule | Mapping[Any, Any]


MOVED = {"data": "data", "live": "with_graph", "recording": "recording"} | {
    name: name for name in ("workspace", "floating", "check_fresh")
}
"""What circuits showed before they had a session, and what it is called there."""


class Circuit(DescribedCircuit):
    """The provenance circuit of one recorded execution. Made by `provnet.trace` or `provnet.load`.

    It is fixed by the execution; rule, annotation function and semiring give its variables their values.
    Example: `circuit = provnet.trace(model, x); circuit.evaluate("viterbi", target=3).inputs`
    """

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Names that the session has now go on working, with a warning; no list of names shows them."""
            if name not in MOVED or "session" not in vars(self):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            warnings.warn(f"circuit.{name} is circuit.session.{MOVED[name]} now", DeprecationWarning, stacklevel=2)
            return getattr(self.session, MOVED[name])

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
        (theta,) = annotations_of(self.session.data, [algebra], annotation)
        if coefficients:
            self.session.check_fresh()
        found, chosen = lrp.get("zero" if rule is None else rule), conventions_of(conventions)
        workspace = self.session.workspace(self.session.floating(None), found, chosen)

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

        named   the same by the sources' names, in place of `inputs`.
        Raises: `ReplayError` where the recording depended on the values of its input (a number that became a Python
        number, a mask or an index computed from values, random numbers), or on its number of examples; `InputError`
        for sources of another shape, dtype or device; `NonFiniteError`; `StaleCircuitError` if a parameter changed.
        Example: `for x in batches: circuit.on(x).evaluate("boolean", target=3)`
        """
        recording = self.session.recording
        if recording is None:
            loaded = self.session.with_graph is None
            why = "was loaded from a file, which holds no ops" if loaded else "carries autograd's graph"
            raise ReplayError(
                f"this circuit {why}, so it cannot take another input. Trace it: provnet.trace(model, x)."
            )
        lone = recording.execution.argument  # "input" goes by what the model calls it as well
        named = {"input" if name == lone else name: tensor for name, tensor in named.items()}
        given = named_inputs(self.sources, inputs, named)
        self.session.check_weights()
        with plain_torch(), torch.inference_mode(False), torch.no_grad():
            data, unshared = recording.circuit_on(given, check)
            if self.session.data.parameters:
                data = replace(data, parameters=self.session.data.parameters)
            # The weights were looked at a moment ago: what they hold is known.
            return Circuit(Session(data, recording=recording, known=self.session.freshness, unshared=unshared))

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
        engine: str = "auto",
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
        engine      what folds the edges of large blocks: "auto", a compiled kernel where one is there and the block is
                    large enough to be worth it; "torch", none; "numba" or "triton", that one wherever it can. The
                    answers are the same.
        exact       counting in Python integers of any size: short for Counting(overflow="exact").
        measure_memory   note the call's peak of memory, in `result.peak_memory`.
        product     True: lists are crossed, every semiring with every rule and both with every annotation function, the
                    last list fastest; each result's `question` says which it answers.

        Raises: `TargetError`, `OptionError`, `UnknownNameError`, `CountOverflowError`, `NonFiniteError`,
        `StaleCircuitError`, `OutOfMemoryError`. Source: [GSM25] eq. 3, 6, 7.
        """
        return answers(
            self.session,
            semiring,
            conventions=Conventions(bias, pooling, products, softmax, norm),
            target=target,
            rule=rule,
            annotation=annotation,
            at=at,
            sources=sources,
            only=only,
            output=output,
            start=start,
            dtype=dtype,
            memory=memory,
            route=route,
            engine=engine,
            exact=exact,
            measure_memory=measure_memory,
            product=product,
        )

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
        batch   the number of the example.   output   which output, if there are several.
        """
        chosen = Conventions(True, pooling, products, softmax, norm)
        self.session.check_fresh()
        return expand_gates(
            self.session,
            conventions=chosen,
            target=target,
            batch=batch,
            at=at,
            grain=grain,
            units=units,
            biases=biases,
            limit=limit,
            output=output,
            dead=dead,
            annotation=annotation,
            rule=lrp.get(rule),
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
        carrier      the name of the symbolic semiring.
        max_terms    the most paths of a root that a carrier which expands them takes.
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


def _is_semiring(given: Any) -> bool:
    """Return whether an argument is a semiring, by object or by name."""
    return given in semiring_names() if isinstance(given, str) else isinstance(given, Semiring)


def conventions_of(given: Mapping[str, Any]) -> Conventions:
    """Return conventions from keyword arguments. Raises: `OptionError` for a name or a value that is none."""
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise OptionError(f"{unknown[0]!r} is no convention; take {', '.join(NAMES)}.")
    return Conventions(**given)
