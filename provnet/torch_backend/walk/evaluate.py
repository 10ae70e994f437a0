"""Walk a circuit from the target to its inputs, for a list of jobs at once: R_j = ⊕_k Θ(d)_jk ⊗ R_k.

Jobs of one rule share denominators; jobs of one semiring and annotation function share the edges' elements too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from math import isfinite

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.errors import NonFiniteError
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.prepared import Ready
from provnet.torch_backend.contractions.contraction_memory import rooms_kept
from provnet.torch_backend.counts import bounds as counting
from provnet.torch_backend.routes import candidates, operands
from provnet.torch_backend.routes.base import BlockQuestion, Pulled
from provnet.torch_backend.routes.operands import Operands
from provnet.torch_backend.walk.differentiable import check_differentiable, pull_with_graph, wants_graph
from provnet.torch_backend.walk.out_of_memory import with_smaller_tiles
from provnet.torch_backend.walk.unit_edges import ends_in_constants, pull_units
from provnet.torch_backend.walk.workspace import Workspace

BlockDone = Callable[[Block], None]


@dataclass(frozen=True, eq=False)
class WalkQuestion:
    """One question: the relevance of `output`'s neurons to start with, [batch, neurons, *element], and what edges
    are worth."""

    semiring: Semiring
    annotation: Annotation
    rule: Rule
    output: int
    start: Tensor
    only: Mapping[int, Tensor] = field(default_factory=dict)
    """Activation -> [neurons], True where relevance may pass: the others' is dropped. Empty: all may."""

    def shares_elements(self, other: WalkQuestion) -> bool:
        """Whether both jobs give every edge the same element."""
        return self is other or (self._element_key == other._element_key and self.rule == other.rule)

    @cached_property
    def _element_key(self) -> tuple[object, ...]:
        return self.semiring.key(), self.annotation.key(), self.start.dtype


@dataclass(frozen=True)
class Step:
    """How one block was evaluated: the line of `result.plan`."""

    path: str
    op: str
    route: str
    why: str


@dataclass(eq=False)
class Evaluation:
    """What a job gives. Everything is [batch, …, *element], keyed by activation or by block index.

    bias     what each block's bias took
    lost     the ⊕ of the relevance of neurons without a defined edge
    passed   what each block passed to its inputs, and `totals` what came to it and was passed: made for rings, whose
             sinks they give, and where every activation is kept
    dropped  by activation, what neurons held that relevance was kept from (`WalkQuestion.only`)
    sums     while the walk goes on: by activation, what the last block passed to it, and the ⊕ of that
    """

    output: int
    keep: frozenset[int]
    relevance: dict[int, Tensor] = field(default_factory=dict)
    bias: dict[int, Tensor] = field(default_factory=dict)
    lost: dict[int, Tensor] = field(default_factory=dict)
    passed: dict[int, Tensor] = field(default_factory=dict)
    totals: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    dropped: dict[int, Tensor] = field(default_factory=dict)
    sums: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    plan: list[Step] = field(default_factory=list)
    largest: float = 0.0
    """Of counts in floats: the largest one met; below 2^53 all are exact."""
    complete: bool = True
    """Whether the walk went on to the sources, so that totals of every block are there."""


@rooms_kept()
def evaluate(
    workspace: Workspace,
    jobs: Sequence[WalkQuestion],
    keep: frozenset[int],
    route: str = "auto",
    tile: int | None = None,
    done: BlockDone | None = None,
) -> list[Evaluation]:
    """Evaluate jobs in one walk. `keep`: the activations whose relevance is returned. `tile`: edges at a time.

    Blocks below all of these are left out.

    Raises: `CountOverflowError`; `NonFiniteError` if a NaN came out of a block; `OutOfMemoryError`.
    Memory: the relevance of the tensors between the walk and the target that are still to be used, and about eight
    tiles.
    """
    wanted = leading_to(workspace.circuit, keep)
    complete = all(any(i in wanted for i in block.inputs) for block in workspace.circuit.blocks)
    found = [Evaluation(job.output, keep, complete=complete) for job in jobs]
    for job, evaluation in zip(jobs, found, strict=True):
        evaluation.relevance[job.output] = job.start
    restricted = any(job.only for job in jobs)
    for index in reversed(range(len(workspace.circuit.blocks))):
        block = workspace.circuit.blocks[index]
        if restricted:
            _restrict(jobs, found, block.output)
        reached = [n for n, evaluation in enumerate(found) if block.output in evaluation.relevance]
        reached = reached if any(i in wanted for i in block.inputs) else []
        made: dict[Rule, Ready] = {}  # jobs of one rule need the block made ready once
        while reached:
            group = [n for n in reached if jobs[n].shares_elements(jobs[reached[0]])]
            reached = [n for n in reached if n not in group]
            _pull_block(workspace, index, [jobs[n] for n in group], [found[n] for n in group], made, route, tile)
        for evaluation in found:
            evaluation.sums.pop(block.output, None)
            if block.output not in keep:
                evaluation.relevance.pop(block.output, None)
        if done is not None:
            done(block)
    for source in workspace.circuit.sources if restricted else ():
        _restrict(jobs, found, source)
    return found


def leading_to(circuit: BlockCircuit, keep: frozenset[int]) -> set[int]:
    """Return the activations that a walk from the target must know to find those in `keep`: they, and what they
    feed."""
    found = set(keep)
    for block in circuit.blocks:
        if any(i in found for i in block.inputs):
            found.add(block.output)
    return found


def _restrict(jobs: Sequence[WalkQuestion], found: list[Evaluation], activation: int) -> None:
    """Keep relevance from the neurons of an activation that a job leaves out; all that it gets is there by now."""
    for job, evaluation in zip(jobs, found, strict=True):
        allowed, held = job.only.get(activation), evaluation.relevance.get(activation)
        if allowed is None or held is None:
            continue
        mask = allowed.to(held.device)[(...,) + (None,) * len(job.semiring.element_shape)]
        zero = job.semiring.full((), job.semiring.zero, held)
        evaluation.dropped[activation] = job.semiring.sum(torch.where(mask, zero, held), 1)
        evaluation.relevance[activation] = torch.where(mask, held, zero)


def _pull_block(
    workspace: Workspace,
    index: int,
    jobs: list[WalkQuestion],
    found: list[Evaluation],
    made: dict[Rule, Ready],
    route: str,
    tile: int | None,
) -> None:
    """Pull the relevance of one block's output to its inputs, for jobs that share their elements."""
    block = workspace.circuit.blocks[index]
    relevance = [evaluation.relevance[block.output] for evaluation in found]
    job = jobs[0]
    if not block.has_coefficients:
        pulled, step = _pull_units(workspace, index, job, relevance)
    else:

        def pull(tile: int | None) -> tuple[list[Operands], Step]:
            ready = made[job.rule] = made.get(job.rule) or workspace.prepared(index, job.rule)
            return _pull_edges(workspace, index, ready, job, relevance, route, tile)

        (pulled, step), remark = with_smaller_tiles(block, tile, relevance[0].device, pull)
        if remark:
            step = replace(step, why=step.why + remark)
    for parts, evaluation, came in zip(pulled, found, relevance, strict=True):
        for one in parts:
            if one.inputs is not came:  # what unit edges hand on was looked at where it was made
                _check_numbers(block, job.semiring, one.inputs, one.total)
            if one.bias is not None:
                _check_numbers(block, job.semiring, one.bias, None)
        evaluation.plan.append(step)
        _record(index, block, job.semiring, parts, came, evaluation)
        for operand, one in zip(block.operands, parts, strict=True):
            _accumulate(workspace, operand.input, job.semiring, one.inputs, evaluation)


def _pull_edges(
    workspace: Workspace,
    index: int,
    prepared: Ready,
    job: WalkQuestion,
    relevance: list[Tensor],
    route: str,
    tile: int | None,
) -> tuple[list[Operands], Step]:
    """Pull relevance through a block of variables, counts checked before."""
    annotation = workspace.theta(index, job.annotation)
    question = BlockQuestion(job.semiring, annotation, tile)
    for r in relevance:
        counting.check_block(prepared.block, job.semiring, annotation, r, _counter(prepared, question, route))
    return _route(prepared, question, relevance, route)


def _pull_units(
    workspace: Workspace, index: int, job: WalkQuestion, relevance: list[Tensor]
) -> tuple[list[Operands], Step]:
    """Pull relevance through unit edges. A rule may give them coefficients; else they are one."""
    block, semiring = workspace.circuit.blocks[index], job.semiring
    edges = workspace.unit_edges(index, job.rule)
    why = "unit edges: relevance is passed on"
    if edges is not None:
        elements = job.annotation.at(block.path)(edges, semiring, relevance[0].dtype).select(2, 0)
        relevance = [semiring.times(elements, r) for r in relevance]
        why = "unit edges: Θ of the derivative"
    # In the rings, what was lost is what came less what was passed on: it is not looked for twice.
    found = []
    for r in relevance:
        lost = None if semiring.ring else ends_in_constants(block, semiring, r)
        *others, last = pull_units(block, semiring, r)
        found.append((*(Pulled(inputs, None, None) for inputs in others), Pulled(last, None, lost)))
    return found, Step(block.path, block.op, "unit", why)


def _route(
    prepared: Ready, question: BlockQuestion, relevance: list[Tensor], wanted: str
) -> tuple[list[Operands], Step]:
    block = prepared.block
    if wants_graph(prepared, relevance):
        check_differentiable(question, block.path, wanted)
        pulled, why = pull_with_graph(prepared, question, relevance)
        return pulled, Step(block.path, block.op, "differentiable", why)
    refused = ""
    for route, why in candidates(prepared, question, wanted):
        pulled = operands.pull(route, prepared, question, relevance)
        if pulled is not None:
            return pulled, Step(block.path, block.op, route.name, why + refused)
        refused = f" ({route.name} left its safe range)"
    raise AssertionError("the reference route fits always")


def _counter(prepared: Ready, question: BlockQuestion, route: str) -> counting.InFloat:
    """Return a function that pulls counts in float64 and gives the largest, to decide whether they fit int64.

    By the best route: terms are not negative, so each sums them with the same small relative error.
    """

    def count(semiring: Semiring, annotation: Annotation, relevance: Tensor) -> float:
        in_floats = replace(question, semiring=semiring, annotation=annotation)
        (parts,), _ = _route(prepared, in_floats, [relevance], route)
        return max(float(x.max()) for one in parts for x in (one.inputs, one.bias) if x is not None)

    return count


def _check_numbers(block: Block, semiring: Semiring, x: Tensor, total: Tensor | None) -> None:
    """Refuse a NaN, and an Inf that the carrier does not hold. The sum decides unless it is not finite itself."""
    if not x.is_floating_point() or isfinite(x.sum().item() if total is None else total.sum().item()):
        return
    least, greatest = semiring.bounds or (-torch.inf, torch.inf)
    bad = torch.isnan(x) | ((x == -torch.inf) & (least > -torch.inf)) | ((x == torch.inf) & (greatest < torch.inf))
    if bool(bad.any()):
        raise NonFiniteError(
            f"{int(bad.sum())} of {bad.numel()} elements that block {block.path!r} ({block.op}) passes back in the "
            f"semiring {semiring.name!r} are NaN, or Inf that is no element: a coefficient or a product left the "
            f"range of {x.dtype}. Evaluate with dtype=torch.float64, or stabilise with rule=Epsilon(1e-6)."
        )


def _record(
    index: int, block: Block, semiring: Semiring, parts: Operands, came: Tensor, evaluation: Evaluation
) -> None:
    bias, lost = parts[-1].bias, parts[-1].lost
    if bias is not None:
        evaluation.bias[index] = bias
    if lost is not None:
        evaluation.lost[index] = lost
    if semiring.ring or block.output in evaluation.keep:
        where = f"{block.path}, all neurons together"
        # A route that gives a total has seen to it that it does not wrap; the totals of several operands may.
        if len(parts) > 1 or any(one.total is None for one in parts):
            counting.check_total(where, block.op, semiring, [one.inputs for one in parts])
        whole = len(parts) == 1 and parts[0].inputs is came
        arrived = _total(semiring, block.output, came, evaluation) if semiring.ring or whole else None
        totals = [semiring.sum(one.inputs, 1) if one.total is None else one.total for one in parts if not whole]
        evaluation.passed[index] = reduce(semiring.plus, totals) if arrived is None or not whole else arrived
        if semiring.ring and arrived is not None:
            evaluation.totals[index] = arrived, evaluation.passed[index]
        if len(parts) == 1:
            evaluation.sums[block.inputs[0]] = parts[0].inputs, evaluation.passed[index]
    for own in zip(*(counting.rounded_counts(semiring, one.inputs) for one in parts), strict=True):
        _note_largest(evaluation, reduce(torch.add, [inputs.sum(1) for inputs in own]))
    for ended in (bias, lost):
        if ended is not None:
            _note_largest(evaluation, *counting.rounded_counts(semiring, ended))


def _total(semiring: Semiring, activation: int, came: Tensor, evaluation: Evaluation) -> Tensor:
    """Return the ⊕ of an activation's relevance, known already if one block alone passed it."""
    held, total = evaluation.sums.pop(activation, (None, came))
    return total if held is came else semiring.sum(came, 1)


def _note_largest(evaluation: Evaluation, *totals: Tensor) -> None:
    """Note the largest count, totals over neurons included: exact counts are sized by it."""
    found = [float(total.max()) for total in totals if total.numel()]
    evaluation.largest = max(evaluation.largest, *found, 0.0)


def _accumulate(
    workspace: Workspace, activation: int, semiring: Semiring, part: Tensor, evaluation: Evaluation
) -> None:
    """⊕ what came back into the relevance of an input: where a tensor is used twice, branches meet here."""
    held = evaluation.relevance.get(activation)
    if held is not None:
        counting.check_sum(workspace.circuit.activations[activation].name, semiring, held, part)
        part = semiring.plus(held, part)
        _note_largest(evaluation, *(counts.sum(1) for counts in counting.rounded_counts(semiring, part)))
    evaluation.relevance[activation] = part
