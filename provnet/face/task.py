"""One call of `Circuit.evaluate` under way: its questions become jobs, and one walk answers them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from provnet.circuit.blocks import Block
from provnet.circuit.conventions import Conventions
from provnet.errors import CountOverflowError, NonFiniteError, OptionError
from provnet.face.lists import EdgeQuestion
from provnet.face.question import Question, neurons_explained
from provnet.face.relevance import AskedQuestion, Relevance
from provnet.face.targets import Target, Targets, start_rows, target_neurons
from provnet.rules.lrp.base import Rule
from provnet.semirings.base import Semiring
from provnet.semirings.counting import bits, too_many
from provnet.torch_backend.settings import plain_torch
from provnet.torch_backend.walk.evaluate import Evaluation, WalkQuestion
from provnet.torch_backend.walk.memory_peak import Peak
from provnet.torch_backend.walk.threshold_sweep import evaluate_all
from provnet.torch_backend.walk.workspace import Workspace

if TYPE_CHECKING:
    from provnet.face.circuit import Circuit

TILE_COPIES = 8
"""An evaluation holds about this many tiles at a time."""

SHOW_PROGRESS = 200_000_000
"""Edges from which an evaluation may take longer than two seconds and gets a progress bar."""

Answer = tuple[tuple[WalkQuestion, ...], list[Evaluation]]
"""The jobs of one question, one a target, and what each gave."""


@dataclass(frozen=True, eq=False)
class QuestionSetting:
    """All of an evaluation but what edges are worth and which tensors it keeps. `tile` counts edges."""

    circuit: Circuit
    output: int
    target: Target
    conventions: Conventions
    start: Any
    floating: torch.dtype
    route: str
    tile: int | None
    only: Mapping[int, Tensor]

    @cached_property
    def neurons(self) -> list[list[int] | Tensor]:
        """For each target the neurons to start at."""
        held = self.circuit.data.activations[self.output]
        targets = self.target if isinstance(self.target, Targets) else (self.target,)
        return [target_neurons(one, held, self.circuit.batch, self.circuit.classes) for one in targets]

    def _question(self, job: WalkQuestion) -> Question:
        """Return what the results of a job remember."""
        held = self.circuit.data.activations[self.output]
        explained = tuple(neurons_explained(numbers, held) for numbers in self.neurons)
        return Question(
            job.semiring,
            job.rule,
            job.annotation,
            self.target,
            held.name,
            explained,
            self.circuit.classes,
            self.start,
            self.conventions,
        )

    def answer(self, asks: Sequence[EdgeQuestion], keep: frozenset[int], measure: bool = False) -> list[Relevance]:
        """Return one result for each question. `measure`: note the peak of memory, the whole call's for each."""
        device = self.circuit.data.activations[self.output].handle.device
        with Peak(device) if measure else nullcontext() as peak:
            answers = self._climb(self._sized(asks), keep)
        taken = None if peak is None else peak.bytes
        return [Relevance(self._asked(jobs), found, taken) for jobs, found in answers]

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _jobs(self, ask: EdgeQuestion) -> tuple[WalkQuestion, ...]:
        """Return one job for each target."""
        held = self._workspace(ask.rule).circuit.activations[self.output]
        batch = self.circuit.batch
        return tuple(
            WalkQuestion(
                ask.semiring,
                ask.annotation,
                ask.rule,
                self.output,
                start_rows(neurons, self.start, held, batch, ask.semiring, self.floating),
                self.only,
            )
            for neurons in self.neurons
        )

    def _walk(self, asks: Sequence[EdgeQuestion], keep: frozenset[int]) -> list[Answer]:
        groups = [self._jobs(ask) for ask in asks]
        found = iter(self._run([job for group in groups for job in group], keep))
        return [(group, [next(found) for _ in group]) for group in groups]

    def _workspace(self, rule: Rule) -> Workspace:
        return self.circuit.workspace(self.floating, rule, self.conventions, live=True)

    def _run(self, jobs: Sequence[WalkQuestion], keep: frozenset[int]) -> list[Evaluation]:
        """Evaluate jobs that see the same blocks in one walk, and return what each gives, in their order."""
        workspaces = [self._workspace(job.rule) for job in jobs]
        found: dict[int, Evaluation] = {}
        for workspace in dict.fromkeys(workspaces):
            mine = [n for n, one in enumerate(workspaces) if one is workspace]
            found |= zip(mine, self._walk_once(workspace, [jobs[n] for n in mine], keep), strict=True)
        return [found[n] for n in range(len(jobs))]

    def _walk_once(self, workspace: Workspace, jobs: Sequence[WalkQuestion], keep: frozenset[int]) -> list[Evaluation]:
        """Evaluate in one walk, with a progress bar if it may take longer than two seconds."""
        blocks = self.circuit.data.blocks
        if self.circuit.edges * self.circuit.batch * len(jobs) < SHOW_PROGRESS:
            return evaluate_all(workspace, jobs, keep, self.route, self.tile)
        with tqdm(total=len(blocks), unit="block", delay=2, leave=False, disable=None) as bar:

            def done(block: Block) -> None:
                bar.set_postfix_str(block.path, refresh=False)
                bar.update()

            return evaluate_all(workspace, jobs, keep, self.route, self.tile, done)

    def _asked(self, jobs: tuple[WalkQuestion, ...]) -> AskedQuestion:
        @plain_torch()
        def again(keep: frozenset[int]) -> list[Evaluation]:
            self.circuit.check_fresh()
            return self._run(jobs, keep)

        def workspace() -> Workspace:
            self.circuit.check_fresh()  # every later look at a result reads the weights again
            return self._workspace(rule)

        several, rule = isinstance(self.target, Targets), jobs[0].rule
        plain = self.circuit.workspace(self.floating, rule, self.conventions).circuit
        return AskedQuestion(plain, jobs, several, workspace, again, self._question(jobs[0]))

    # -- counts of any size --------------------------------------------------------------------------------------------

    def _sized(self, asks: Sequence[EdgeQuestion]) -> list[EdgeQuestion]:
        """Give exact counts as many primes as the largest needs, which float64 tells first, in one walk."""
        parts = [
            (n, replace(asks[n], semiring=part.held("float64"), annotation=theta))
            for n, ask in enumerate(asks)
            for part, theta, _ in ask.semiring.parts(ask.annotation)
            if part.residues
        ]
        found = list(asks)
        if not parts:
            return found
        try:
            answers = self._walk([rough for _, rough in parts], frozenset(self.circuit.data.sources))
        except NonFiniteError as error:
            raise too_many() from error
        largest = dict.fromkeys((n for n, _ in parts), 0.0)
        for (n, _), (_, evaluations) in zip(parts, answers, strict=True):
            largest[n] = max(largest[n], *(evaluation.largest for evaluation in evaluations))
        for n, count in largest.items():
            found[n] = replace(asks[n], semiring=asks[n].semiring.with_primes(bits(count)))
        return found

    def _climb(self, asks: Sequence[EdgeQuestion], keep: frozenset[int]) -> list[Answer]:
        """Answer in one walk; where a count does not fit, each question climbs its own ladder of carriers."""
        ladders = [ask.semiring.ladder() for ask in asks]
        try:
            return self._walk([_held(ask, ladder[0]) for ask, ladder in zip(asks, ladders, strict=True)], keep)
        except CountOverflowError:
            if all(len(ladder) == 1 for ladder in ladders):
                raise
        return [answer for ask in asks for answer in self._climb_alone(ask, keep)]

    def _climb_alone(self, ask: EdgeQuestion, keep: frozenset[int]) -> list[Answer]:
        *lower, highest = ask.semiring.ladder()
        for rung in lower:
            with suppress(CountOverflowError):
                return self._walk([_held(ask, rung)], keep)
        return self._walk([_held(ask, highest)], keep)


def _held(ask: EdgeQuestion, semiring: Semiring) -> EdgeQuestion:
    return replace(ask, semiring=semiring)


def tile_of(memory: int, floating: torch.dtype) -> int:
    """Return how many edges a tile may have for `memory` bytes. Raises `OptionError` for too few, or no number."""
    if not isinstance(memory, int) or memory < 1 << 16:
        raise OptionError(f"memory={memory} bytes is too little for a tile; give at least 65,536, or None.")
    return memory // (TILE_COPIES * floating.itemsize)
