"""One call of `evaluate` under way: its questions become questions to a walk, and one walk answers them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from provnet.circuit.blocks import Block
from provnet.circuit.conventions import Conventions
from provnet.errors import CountOverflowError, NonFiniteError, OptionError
from provnet.face.lists import EdgeQuestion
from provnet.face.promotion import are_exact, first_rung, in_whole_numbers, most_paths, surely_overflow
from provnet.face.question import Question
from provnet.face.relevance import Relevance
from provnet.face.relevance_at_tensors import AskedQuestion
from provnet.face.session import Session
from provnet.face.targets import Target, Targets, start_rows, target_neurons
from provnet.rules.lrp.base import Rule
from provnet.semirings.base import Semiring
from provnet.semirings.counting import bits, too_many
from provnet.torch_backend.contractions.engine_choice import check_engine, engine_chosen
from provnet.torch_backend.settings import plain_torch
from provnet.torch_backend.walk.evaluate import Evaluation, WalkQuestion
from provnet.torch_backend.walk.memory_peak import Peak
from provnet.torch_backend.walk.threshold_sweep import evaluate_all
from provnet.torch_backend.walk.workspace import Workspace

TILE_COPIES = 8
"""An evaluation holds about this many tiles at a time."""

SHOW_PROGRESS = 200_000_000
"""Edges from which an evaluation may take longer than two seconds and gets a progress bar."""

Answer = tuple[tuple[WalkQuestion, ...], list[Evaluation]]
"""What one question asks of a walk, target by target, and what each gave."""


@dataclass(frozen=True, eq=False)
class QuestionSetting:
    """All of an evaluation but what edges are worth and which tensors it keeps.

    `tile` counts edges, `engine` folds them."""

    session: Session
    output: int
    target: Target
    conventions: Conventions
    start: Any
    floating: torch.dtype
    route: str
    engine: str
    tile: int | None
    only: Mapping[int, Tensor]

    @cached_property
    def neurons(self) -> list[list[int] | Tensor]:
        """For each target the neurons to start at."""
        held = self.session.data.activations[self.output]
        targets = self.target if isinstance(self.target, Targets) else (self.target,)
        return [target_neurons(one, held, self.session.data.batch, self.session.classes) for one in targets]

    def _question(self, question: WalkQuestion) -> Question:
        """Return what the results of a question remember."""
        held = self.session.data.activations[self.output]
        return Question(
            question.semiring,
            question.rule,
            question.annotation,
            self.target,
            held.name,
            tuple(None if isinstance(numbers, Tensor) else numbers for numbers in self.neurons),
            held.shape,
            self.session.classes,
            self.start,
            self.conventions,
        )

    def answer(self, asked: Sequence[EdgeQuestion], keep: frozenset[int], measure: bool = False) -> list[Relevance]:
        """Return one result for each question. `measure`: note the peak of memory, the whole call's for each."""
        device = self.session.data.activations[self.output].handle.device
        check_engine(self.engine, device)
        with Peak(device) if measure else nullcontext() as peak:
            answers = self._climb(self._sized(asked), keep)
        taken = None if peak is None else peak.bytes
        return [Relevance(self._asked(questions), found, taken) for questions, found in answers]

    # -- questions to a walk -------------------------------------------------------------------------------------------

    def _walk_questions(self, one: EdgeQuestion) -> tuple[WalkQuestion, ...]:
        """Return what a question asks of a walk, one for each target."""
        held = self._workspace(one.rule).circuit.activations[self.output]
        batch = self.session.data.batch
        return tuple(
            WalkQuestion(
                one.semiring,
                one.annotation,
                one.rule,
                self.output,
                start_rows(neurons, self.start, held, batch, one.semiring, self.floating),
                self.only,
            )
            for neurons in self.neurons
        )

    def _walk(self, asked: Sequence[EdgeQuestion], keep: frozenset[int]) -> list[Answer]:
        groups = [self._walk_questions(one) for one in asked]
        found = iter(self._run([question for group in groups for question in group], keep))
        return [(group, [next(found) for _ in group]) for group in groups]

    def _workspace(self, rule: Rule) -> Workspace:
        return self.session.workspace(self.floating, rule, self.conventions, graph=True)

    def _run(self, questions: Sequence[WalkQuestion], keep: frozenset[int]) -> list[Evaluation]:
        """Evaluate questions that see the same blocks in one walk, and return what each gives, in their order."""
        workspaces = [self._workspace(question.rule) for question in questions]
        found: dict[int, Evaluation] = {}
        for workspace in dict.fromkeys(workspaces):
            mine = [n for n, one in enumerate(workspaces) if one is workspace]
            found |= zip(mine, self._walk_once(workspace, [questions[n] for n in mine], keep), strict=True)
        return [found[n] for n in range(len(questions))]

    def _walk_once(
        self, workspace: Workspace, questions: Sequence[WalkQuestion], keep: frozenset[int]
    ) -> list[Evaluation]:
        """Evaluate in one walk, with a progress bar if it may take longer than two seconds."""
        with engine_chosen(self.engine):
            return self._walk_with_progress(workspace, questions, keep)

    def _walk_with_progress(
        self, workspace: Workspace, questions: Sequence[WalkQuestion], keep: frozenset[int]
    ) -> list[Evaluation]:
        blocks = self.session.data.blocks
        if self.session.edges * self.session.data.batch * len(questions) < SHOW_PROGRESS:
            return evaluate_all(workspace, questions, keep, self.route, self.tile)
        with tqdm(total=len(blocks), unit="block", delay=2, leave=False, disable=None) as bar:

            def done(block: Block) -> None:
                bar.set_postfix_str(block.path, refresh=False)
                bar.update()

            return evaluate_all(workspace, questions, keep, self.route, self.tile, done)

    def _asked(self, questions: tuple[WalkQuestion, ...]) -> AskedQuestion:
        @plain_torch()
        def again(keep: frozenset[int]) -> list[Evaluation]:
            self.session.check_fresh()
            return self._run(questions, keep)

        def workspace() -> Workspace:
            self.session.check_fresh()  # every later look at a result reads the weights again
            return self._workspace(rule)

        several, rule = isinstance(self.target, Targets), questions[0].rule
        plain = self.session.workspace(self.floating, rule, self.conventions).circuit
        return AskedQuestion(plain, questions, several, workspace, again, self._question(questions[0]))

    # -- counts of any size --------------------------------------------------------------------------------------------

    def _sized(self, asked: Sequence[EdgeQuestion]) -> list[EdgeQuestion]:
        """Give exact counts as many primes as the largest needs, which float64 tells first, in one walk."""
        parts = [
            (n, replace(asked[n], semiring=part.held("float64"), annotation=theta))
            for n, one in enumerate(asked)
            for part, theta, _ in one.semiring.parts(one.annotation)
            if part.residues
        ]
        found = list(asked)
        if not parts:
            return found
        try:
            answers = self._walk([rough for _, rough in parts], frozenset(self.session.data.sources))
        except NonFiniteError as error:
            raise too_many() from error
        largest = dict.fromkeys((n for n, _ in parts), 0.0)
        for (n, _), (_, evaluations) in zip(parts, answers, strict=True):
            largest[n] = max(largest[n], *(evaluation.largest for evaluation in evaluations))
        for n, count in largest.items():
            found[n] = replace(asked[n], semiring=asked[n].semiring.with_primes(bits(count)))
        return found

    def _climb(self, asked: Sequence[EdgeQuestion], keep: frozenset[int]) -> list[Answer]:
        """Answer in one walk; where a count does not fit, each question climbs its own ladder of carriers."""
        try:
            answers = self._walk([self._first(one) for one in asked], keep)
            return [self._settled(one, answer, keep) for one, answer in zip(asked, answers, strict=True)]
        except CountOverflowError:
            if all(len(one.semiring.ladder()) == 1 for one in asked):
                raise
        return [self._climb_alone(one, keep) for one in asked]

    def _first(self, one: EdgeQuestion) -> EdgeQuestion:
        paths = most_paths(self._workspace(one.rule).circuit) if one.semiring.promotes else 0.0
        return _held(one, first_rung(one.semiring, paths))

    def _climb_alone(self, one: EdgeQuestion, keep: frozenset[int]) -> Answer:
        *lower, highest = one.semiring.ladder()
        for rung in [] if one.semiring.promotes else lower:
            with suppress(CountOverflowError):
                return self._walk([_held(one, rung)], keep)[0]
        return self._settled(one, self._walk([_held(one, highest)], keep)[0], keep)

    def _settled(self, one: EdgeQuestion, answer: Answer, keep: frozenset[int]) -> Answer:
        """Return an answer as it is, but of plain counts that promote, found in float64, one in int64 where that holds
        them."""
        if not one.semiring.promotes or surely_overflow(answer[1]):
            return answer
        lowest = _held(one, one.semiring.ladder()[0])
        questions = self._walk_questions(lowest)
        if are_exact(answer[1], questions):
            return questions, [in_whole_numbers(evaluation) for evaluation in answer[1]]
        with suppress(CountOverflowError):
            return self._walk([lowest], keep)[0]
        return answer


def _held(one: EdgeQuestion, semiring: Semiring) -> EdgeQuestion:
    return replace(one, semiring=semiring)


def tile_of(memory: int, floating: torch.dtype) -> int:
    """Return how many edges a tile may have for `memory` bytes. Raises `OptionError` for too few, or no number."""
    if not isinstance(memory, int) or memory < 1 << 16:
        raise OptionError(f"memory={memory} bytes is too little for a tile; give at least 65,536, or None.")
    return memory // (TILE_COPIES * floating.itemsize)
