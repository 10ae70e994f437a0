"""Many thresholds at the price of one: a neuron is relevant at θ iff its widest path to the target reaches θ.

x -> [x >= θ] maps (max, min) over the reals with ±∞ to (or, and), -∞ to False, for every finite θ; so does [x > θ]. So
one evaluation in Bottleneck holds the answers of all Boolean ones that differ in θ alone, to the bit: nothing is
rounded, and both read the same coefficients. Bias totals and what was lost are ⊕ of the same elements, so they map too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import torch
from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.semirings.annotations.absolute_value import AbsoluteValue
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.annotations.identity import Identity
from provnet.semirings.annotations.max_normalised import MaxNormalised
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.bottleneck import Bottleneck
from provnet.torch_backend.routes import candidates
from provnet.torch_backend.routes.base import BlockQuestion
from provnet.torch_backend.walk.evaluate import BlockDone, Evaluation, WalkQuestion, evaluate
from provnet.torch_backend.walk.workspace import Workspace

FEWEST = 3
"""Thresholds from which one pass in Bottleneck is cheaper than a Boolean pass each, by compiled kernels (VGG-16: 0.92 s
against 0.37 s)."""

FEWEST_FOLDED = 16
"""The same where a large block has no kernel for (max, min) and is folded in tiles."""

LARGE = 1 << 20
"""Edges from which it matters how a block is folded."""


@dataclass(eq=False)
class Sweep:
    """Jobs that differ in θ alone, by their numbers, and the one that stands for them."""

    job: WalkQuestion
    members: list[int] = field(default_factory=list)


def evaluate_all(
    workspace: Workspace,
    jobs: Sequence[WalkQuestion],
    keep: frozenset[int],
    route: str = "auto",
    tile: int | None = None,
    done: BlockDone | None = None,
) -> list[Evaluation]:
    """Evaluate jobs in one walk, as `evaluate` does, thresholds that can share a pass by one. Arguments as there.

    A route that is asked for by name is taken literally. What a lean circuit made again is let go at the end.
    """
    sweeps = sweeps_of(workspace, jobs) if route == "auto" else []
    swept = {number for sweep in sweeps for number in sweep.members}
    plain = [number for number in range(len(jobs)) if number not in swept]

    def passed(block: Block) -> None:
        workspace.pass_by(block.output)
        if done is not None:
            done(block)

    asked = [*(jobs[number] for number in plain), *(sweep.job for sweep in sweeps)]
    try:
        walked = evaluate(workspace, asked, keep, route, tile, passed)
    finally:
        workspace.release()
    found = dict(zip(plain, walked, strict=False))
    for sweep, widest in zip(sweeps, walked[len(plain) :], strict=True):
        for number in sweep.members:
            found[number] = at_threshold(widest, jobs[number], workspace.dtype, len(sweep.members))
    return [found[number] for number in range(len(jobs))]


def sweeps_of(workspace: Workspace, jobs: Sequence[WalkQuestion]) -> list[Sweep]:
    """Return the groups of Boolean jobs that differ in θ (and strictness) alone, where one pass for all is cheaper."""
    found: list[Sweep] = []
    dtype = workspace.dtype
    for number, job in enumerate(jobs):
        if not fits(job, dtype):
            continue
        for sweep in found:
            if _alike(jobs[sweep.members[0]], job):
                sweep.members.append(number)
                break
        else:
            found.append(Sweep(_widest(job, dtype), [number]))
    return [sweep for sweep in found if len(sweep.members) >= FEWEST and _pays(workspace, sweep)]


def _pays(workspace: Workspace, sweep: Sweep) -> bool:
    """Return whether there are thresholds enough: the block of most edges decides, by the route that it would take."""
    if len(sweep.members) >= FEWEST_FOLDED:
        return True
    blocks, job = workspace.circuit.blocks, sweep.job
    most = max(range(len(blocks)), key=lambda n: blocks[n].wiring.edges if blocks[n].kind == "affine" else 0)
    if blocks[most].kind != "affine" or blocks[most].wiring.edges * workspace.circuit.batch < LARGE:
        return True
    theta = workspace.theta(most, job.annotation)
    prepared = workspace.prepared(most, job.rule)
    (route, _), *_ = candidates(prepared, BlockQuestion(job.semiring, theta), "auto")
    return route.rank > 0


def fits(job: WalkQuestion, dtype: torch.dtype) -> bool:
    """Return whether a job is Boolean with one finite θ for all blocks, compared with d as `Threshold` does it."""
    semiring, theta = job.semiring, job.annotation
    if semiring.family != "or-and" or semiring.dtype != torch.bool or semiring.element_shape:
        return False
    if theta.form != "threshold" or not isinstance(theta, Threshold) or theta.patterns():
        return False
    if type(theta).passes is not Threshold.passes or type(theta).at is not Threshold.at:
        return False
    # At an infinite θ, the target itself (∞) and what no path reaches (-∞) would be compared with themselves. No share
    # of nothing passes at 0, where 0 >= 0 would.
    number = theta.rounded(dtype)
    return isfinite(number) and (theta.of == "coefficient" or number > 0)


def _alike(one: WalkQuestion, other: WalkQuestion) -> bool:
    same = (one.rule, one.output, one.semiring.key()) == (
        other.rule,
        other.output,
        other.semiring.key(),
    )
    measured = _measured(one.annotation) == _measured(other.annotation)  # type: ignore[arg-type]  # fits
    return same and measured and one.only is other.only and torch.equal(one.start, other.start)


def _measured(threshold: Threshold) -> type[Annotation]:
    """Return what gives the numbers that are compared with θ."""
    if threshold.of == "share":
        return MaxNormalised
    return AbsoluteValue if threshold.absolute else Identity


def _widest(job: WalkQuestion, dtype: torch.dtype) -> WalkQuestion:
    """Return the job in Bottleneck: over what thresholds compare with θ, from ∞ where the Booleans start at True."""
    semiring = Bottleneck()
    ends = [torch.tensor(end, dtype=dtype, device=job.start.device) for end in (semiring.one, semiring.zero)]
    start = torch.where(job.start, *ends)
    annotation = _measured(job.annotation)()  # type: ignore[arg-type]  # fits
    return replace(job, semiring=semiring, annotation=annotation, start=start)


def at_threshold(widest: Evaluation, job: WalkQuestion, dtype: torch.dtype, members: int) -> Evaluation:
    """Return the Boolean evaluation of `job` that a Bottleneck one holds. Memory: its tensors, a byte an element."""
    reaches = _reaches(job.annotation, dtype)  # type: ignore[arg-type]  # fits
    why = f"; one pass in Bottleneck answers {members} thresholds"
    return Evaluation(
        output=widest.output,
        keep=widest.keep,
        relevance={i: reaches(x) for i, x in widest.relevance.items()},
        bias={i: reaches(x) for i, x in widest.bias.items()},
        lost={i: reaches(x) for i, x in widest.lost.items()},
        passed={i: reaches(x) for i, x in widest.passed.items()},
        dropped={i: reaches(x) for i, x in widest.dropped.items()},
        plan=[replace(step, why=step.why + why) for step in widest.plan],
    )


def _reaches(threshold: Threshold, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    theta, strict = threshold.rounded(dtype), threshold.strict
    return lambda x: x > theta if strict else x >= theta
