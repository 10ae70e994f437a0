"""`Circuit`: one execution's provenance circuit, asked many questions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor
from tqdm import tqdm

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.errors import OptionError, StaleCircuitError
from provnet.face.gate_circuit import GateCircuit, expand_gates
from provnet.face.names import At, check_patterns, masks_of, output_named
from provnet.face.plan import Plan, Summary, plan_of, summary_of
from provnet.face.relevance import Asked, Relevance, kept_tensors
from provnet.face.targets import Target, Targets, start_rows, target_neurons
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings import annotations
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.semirings.counting import Counting, bits
from provnet.semirings.lookup import get as get_semiring
from provnet.torch_backend.ambient import plain_torch
from provnet.torch_backend.evaluate import Evaluation, Job, evaluate
from provnet.torch_backend.ranges import coefficient_range
from provnet.torch_backend.workspace import Policy, Workspace

SemiringLike = str | Semiring
AnnotationLike = str | Annotation
RuleLike = str | Rule | Mapping[Any, Any]

TILE_COPIES = 8
"""An evaluation holds about this many tiles at a time."""

SHOW_PROGRESS = 200_000_000
"""Edges from which an evaluation may take longer than two seconds and gets a progress bar."""


class Circuit:
    """The provenance circuit of one recorded execution. Made by `provnet.trace` or `provnet.load`.

    It is fixed by the execution; rule, annotation function and semiring give its variables their values.
    Example: `circuit = provnet.trace(model, x); circuit.evaluate("viterbi", target=3).inputs`
    """

    def __init__(self, data: BlockCircuit) -> None:
        self.data = data
        self._workspaces: OrderedDict[torch.dtype, Workspace] = OrderedDict()

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
    def outputs(self) -> tuple[Tensor, ...]:
        """The recorded outputs of the model, as copies: the circuit reads its own again at every evaluation."""
        return tuple(self.data.activations[output].handle.clone() for output in self.data.outputs)

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

    def summary(self) -> Summary:
        """Return a table of the blocks: path, op, shapes, edges, the rule that each takes by default."""
        return summary_of(self.data)

    @plain_torch()
    def plan(
        self,
        rule: RuleLike = "zero",
        semiring: SemiringLike = "real",
        annotation: Any = None,
        pooling: str = "winner",
        bias: bool = True,
        coefficients: bool = False,
    ) -> Plan:
        """Return, before anything is computed, which rule and annotation function each block will get, and why.

        coefficients   compute the range of each block's coefficients too: as long as one evaluation.
        Raises: `OptionError` for a rule that cannot apply to a block, `UnknownNameError` for an entry that fits none.
        """
        algebra = get_semiring(semiring)
        (theta,) = self._annotations([algebra], annotation)
        found, policy = lrp.get(rule), Policy(bias, _pooling(pooling))
        workspace = self.workspace(self.floating(None)) if coefficients else None

        def ranges(index: int) -> tuple[float, float] | None:
            assert workspace is not None
            return coefficient_range(workspace, index, found, policy)

        return plan_of(self.data, found, algebra, theta, policy, None if workspace is None else ranges)

    # -- evaluation ----------------------------------------------------------------------------------------------------

    @overload
    def evaluate(
        self,
        semiring: SemiringLike = ...,
        target: Target = ...,
        rule: RuleLike = ...,
        annotation: Any = ...,
        **options: Any,
    ) -> Relevance: ...
    @overload
    def evaluate(
        self,
        semiring: Sequence[SemiringLike],
        target: Target = ...,
        rule: RuleLike = ...,
        annotation: Any = ...,
        **options: Any,
    ) -> list[Relevance]: ...
    @plain_torch()
    def evaluate(  # pyright: ignore[reportInconsistentOverload]  # the options are the same for both, named once
        self,
        semiring: SemiringLike | Sequence[SemiringLike] = "real",
        target: Target = "predicted",
        rule: RuleLike = "zero",
        annotation: Any = None,
        at: At = None,
        only: Mapping[str, Any] | None = None,
        output: str | int | None = None,
        start: Any = "one",
        bias: bool = True,
        pooling: Literal["winner", "proportional", "seed"] = "winner",
        products: Literal["half", "value", "full"] = "half",
        softmax: str = "identity",
        norm: str = "identity",
        dtype: torch.dtype | None = None,
        memory: int | None = None,
        route: str = "auto",
    ) -> Relevance | list[Relevance]:
        """Return the relevance of every neuron for the target, in one semiring or in a list of them (work is shared).

        semiring    name, object, or a list of both.
        target      "predicted"; an int or a tuple of indices, for all examples; a list or 1-D tensor, one per example;
                    `Targets(...)` for several results; a tensor shaped like the output, a weighting.
        rule        propagation rule, name or object: it applies to the linear maps, pooling and sums keep proportions.
        annotation  Θ: None (each semiring's default), one for all, a list, or a mapping by semiring name.
        at          tensors, by path or glob, whose relevance is kept besides the sources'; others are found when
        asked for.
        only        {tensor: channels or mask}: relevance passes through these neurons only, so that what comes out is
                    conditional on them. Channels are indices on the first axis of an example; a mask has its shape.
        output      which output, if there are several.   start   "one", "logit", or elements.
        bias        False leaves biases out, of denominators too.   pooling   what a max pooling passes on.
        products, softmax, norm   policies of products of traced tensors, softmax and normalisation layers, whose op
        rules
                    are not there yet: a model that has any is refused by `trace`.
        dtype       floating dtype of the evaluation; default: the model's, at least float32.
        memory      bytes that tiles may take.   route   "auto", or "reference" for the literal definition.

        Raises: `TargetError`, `OptionError`, `UnknownNameError`, `CountOverflowError`, `NonFiniteError`,
        `StaleCircuitError`. Source: [GSM25] eq. 3, 6, 7.
        """
        _check_unused(products, softmax, norm)
        several = isinstance(semiring, list | tuple)
        algebras = [get_semiring(s) for s in (semiring if several else [semiring])]  # type: ignore[union-attr,list-item]
        self.check_fresh()
        floating = self.floating(dtype)
        question = _Question(
            self,
            output_named(self.data, output),
            target,
            lrp.get(rule),
            Policy(bias, _pooling(pooling)),
            start,
            floating,
            route,
            None if memory is None else _tile(memory, floating),
            masks_of(self.data, only),
        )
        results = question.answer(algebras, self._annotations(algebras, annotation), kept_tensors(self.data, at))
        return results if several else results[0]

    def _annotations(self, algebras: list[Semiring], given: Any) -> list[Annotation]:
        """Return one annotation function for each semiring, resolved; a pattern of paths must fit a block."""
        if isinstance(given, Mapping):
            unknown = set(given) - {s.name for s in algebras}
            if unknown:
                raise OptionError(
                    f"annotation names {sorted(unknown)}, which are not asked for ({[s.name for s in algebras]})."
                )
            chosen = [given.get(s.name) for s in algebras]
        elif isinstance(given, list | tuple):
            if len(given) != len(algebras):
                raise OptionError(f"annotation lists {len(given)} functions for {len(algebras)} semirings.")
            chosen = list(given)
        else:
            chosen = [given] * len(algebras)
        found = [annotations.resolve(theta, s) for theta, s in zip(chosen, algebras, strict=True)]
        for theta in found:
            check_patterns(theta.patterns(), self.data.blocks, "the annotation's pattern")
        return found

    def floating(self, dtype: torch.dtype | None) -> torch.dtype:
        """Return the floating dtype of an evaluation: `dtype`, or the model's, at least float32. Raises
        `OptionError`."""
        if dtype is None:
            held = self.data.activations[self.data.outputs[0]].handle.dtype
            return held if held in (torch.float32, torch.float64) else torch.float32
        if dtype not in (torch.float32, torch.float64):
            raise OptionError(f"dtype={dtype}: relevance is evaluated in torch.float32 or torch.float64.")
        return dtype

    def workspace(self, floating: torch.dtype) -> Workspace:
        """Return what evaluations in one floating dtype share."""
        return self._workspaces.setdefault(floating, Workspace(self.data, floating))

    def check_fresh(self) -> None:
        """Raise `StaleCircuitError` if a tensor that the circuit refers to was changed in place since tracing."""
        for kept in self.data.kept:
            if kept.handle._version != kept.version:
                raise StaleCircuitError(
                    f"{kept.name!r} was changed in place after tracing (version {kept.version}, now "
                    f"{kept.handle._version}), so "
                    "activations and weights no longer belong together. Trace again, or trace with copy=True."
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
    ) -> GateCircuit:
        """Return the explicit circuit of one example: every ⊕, ⊗ and variable between the target and the roots.

        at      the neurons whose relevance the circuit gives, (path, index…), or whole tensors; default: the sources.
        grain   what a variable stands for.   units   make unit edges variables too.   biases   add bias neurons.
        limit   the largest number of gates, counted before any is made. Raises `LimitError` with the exact count.
        """
        _check_unused(products, "identity", "identity")
        self.check_fresh()
        return expand_gates(
            self, target, batch, at, grain, Policy(True, _pooling(pooling)), units, biases, limit, output
        )

    def __repr__(self) -> str:
        data = self.data
        return (
            f"Circuit({data.model}, batch {data.batch}, {len(data.blocks)} blocks, {self.edges:,} edges an example, "
            f"sources {', '.join(self.sources)})"
        )


class _Question:
    """All of an evaluation but its semirings, annotation functions and the tensors it keeps."""

    def __init__(
        self,
        circuit: Circuit,
        output: int,
        target: Target,
        rule: Rule,
        policy: Policy,
        start: Any,
        floating: torch.dtype,
        route: str,
        tile: int | None,
        only: Mapping[int, Tensor],
    ) -> None:
        self.circuit, self.output, self.rule, self.policy = circuit, output, rule, policy
        self.start, self.floating, self.route, self.tile = start, floating, route, tile
        self.only = only
        held = circuit.data.activations[output]
        self.several = isinstance(target, Targets)
        targets = target if isinstance(target, Targets) else (target,)
        self.neurons = [target_neurons(one, held, circuit.batch) for one in targets]

    def jobs(self, semiring: Semiring, annotation: Annotation) -> tuple[Job, ...]:
        """Return one job for each target."""
        held, batch = self.circuit.data.activations[self.output], self.circuit.batch
        return tuple(
            Job(
                semiring,
                annotation,
                self.rule,
                self.policy,
                self.output,
                start_rows(neurons, self.start, held, batch, semiring, self.floating),
                self.only,
            )
            for neurons in self.neurons
        )

    def run(self, jobs: Sequence[Job], keep: frozenset[int]) -> list[Evaluation]:
        """Evaluate, with a progress bar if it may take longer than two seconds."""
        blocks = self.circuit.data.blocks
        workspace = self.circuit.workspace(self.floating)
        if self.circuit.edges * self.circuit.batch * len(jobs) < SHOW_PROGRESS:
            return evaluate(workspace, jobs, keep, self.route, self.tile)
        with tqdm(total=len(blocks), unit="block", delay=2, leave=False) as bar:

            def done(block: Block) -> None:
                bar.set_postfix_str(block.path, refresh=False)
                bar.update()

            return evaluate(workspace, jobs, keep, self.route, self.tile, done)

    def answer(self, algebras: list[Semiring], thetas: list[Annotation], keep: frozenset[int]) -> list[Relevance]:
        """Return one result for each semiring, from one walk."""
        pairs = [(self._sized(s, theta), theta) for s, theta in zip(algebras, thetas, strict=True)]
        groups = [self.jobs(s, theta) for s, theta in pairs]
        found = iter(self.run([job for group in groups for job in group], keep))
        return [Relevance(self._asked(group), [next(found) for _ in group]) for group in groups]

    def _asked(self, jobs: tuple[Job, ...]) -> Asked:
        @plain_torch()
        def again(keep: frozenset[int]) -> list[Evaluation]:
            self.circuit.check_fresh()
            return self.run(jobs, keep)

        return Asked(self.circuit.data, jobs, self.several, lambda: self.circuit.workspace(self.floating), again)

    def _sized(self, semiring: Semiring, annotation: Annotation) -> Semiring:
        """Give exact counting as many primes as the largest count needs, which float64 tells first."""
        if not (isinstance(semiring, Counting) and semiring.primes):
            return semiring
        rough = self.run(self.jobs(Counting("float64"), annotation), frozenset(self.circuit.data.sources))
        return semiring.with_primes(bits(max(evaluation.largest for evaluation in rough)))


def _tile(memory: int, floating: torch.dtype) -> int:
    if not isinstance(memory, int) or memory < 1 << 16:
        raise OptionError(f"memory={memory} bytes is too little for a tile; give at least 65,536, or None.")
    return memory // (TILE_COPIES * floating.itemsize)


def _pooling(pooling: str) -> Any:
    return pooling  # checked by Policy


def _check_unused(products: str, softmax: str, norm: str) -> None:
    for what, value, known in (
        ("products", products, ("half", "value", "full")),
        ("softmax", softmax, ("identity",)),
        ("norm", norm, ("identity",)),
    ):
        if value not in known:
            raise OptionError(f"{what}={value!r} is unknown; take {' or '.join(map(repr, known))}.")
