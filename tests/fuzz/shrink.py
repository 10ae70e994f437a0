"""Run all checks on a program; where one fails, look for the smallest program on which it still does."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from provnet.errors import ProvnetError
from tests.fuzz.checks import CHECKS, Case, Skip
from tests.fuzz.draw import renumbered, without_unused
from tests.fuzz.program import Program

Checks = Mapping[str, Callable[[Case], None]]


@dataclass(frozen=True)
class Failure:
    """A check that failed on a program, and what it said. `check` is "trace" where the program was not traced."""

    program: Program
    check: str
    kind: str
    message: str

    def report(self) -> str:
        """Return the program as runnable Python, with what went wrong."""
        said = "\n".join(f"# {line}" for line in self.message.splitlines())
        return (
            f"# seed {self.program.seed}, check {self.check}: {self.kind}\n{said}\n{self.program.source_code()}"
            "\nimport provnet\n\ncircuit = provnet.trace(model, *inputs)\n"
        )


def failures(program: Program, checks: Checks = CHECKS) -> tuple[list[Failure], list[str]]:
    """Return what fails on a program, and the names of the checks that had something to say."""
    try:
        if is_constant(program):  # there is nothing to explain, and provnet says so
            return [], []
        case = Case(program)
    except Exception as error:  # a refusal is a failure too: the table of ops has only those that are supported
        return [_failure(program, "trace", error)], []
    found, asked = [], []
    for name, check in checks.items():
        try:
            check(case)
        except Skip:
            continue
        except Exception as error:
            found.append(_failure(program, name, error))
        asked.append(name)
    return found, asked


def is_constant(program: Program) -> bool:
    """Return whether some output is the same for another input."""
    model, inputs = program.run()
    with torch.no_grad():
        first, other = program.values(model, inputs), program.values(model, tuple(x * 1.5 + 0.1 for x in inputs))
    return any(torch.equal(first[n], other[n]) for n in program.outputs)


def _failure(program: Program, check: str, error: Exception) -> Failure:
    said = str(error)
    if not isinstance(error, AssertionError | ProvnetError):
        said += "\n" + "".join(traceback.format_exception(error)[-3:])
    return Failure(program, check, type(error).__name__, said)


def shrunk(failure: Failure, checks: Checks = CHECKS, tries: int = 300) -> Failure:
    """Return the failure on the smallest program that was found for it: the same check, the same kind of error."""
    chosen = {failure.check: checks[failure.check]} if failure.check in checks else {}
    smaller = True
    while smaller and tries > 0:
        smaller = False
        for candidate in _smaller(failure.program):
            tries -= 1
            found, _ = failures(candidate, chosen)
            again = [f for f in found if (f.check, f.kind) == (failure.check, failure.kind)]
            if again:
                failure, smaller = again[0], True
                break
            if tries <= 0:
                break
    return failure


def _smaller(program: Program) -> Iterator[Program]:
    """Yield programs that are a little smaller, those that lose most first."""
    count = len(program.sources)
    for number in range(count, count + len(program.steps)):  # end earlier
        if (number,) != program.outputs:
            yield without_unused(replace(program, outputs=(number,)))
    for output in program.outputs if len(program.outputs) > 1 else ():
        yield without_unused(replace(program, outputs=(output,)))
    for number in range(count, count + len(program.steps)):  # leave one step out: its readers read what it read
        if number not in program.outputs:
            yield _without(program, number)
    for step in range(len(program.steps)):  # read one value where two were read
        reads = program.steps[step].reads
        if len(set(reads)) > 1:
            steps = list(program.steps)
            steps[step] = replace(steps[step], reads=(reads[0],) * len(reads))
            yield without_unused(replace(program, steps=tuple(steps)))
    if program.batch > 1:
        yield replace(program, batch=program.batch - 1)


def _without(program: Program, number: int) -> Program:
    count = len(program.sources)
    instead = program.steps[number - count].reads[0]
    steps = tuple(
        replace(step, reads=tuple(instead if n == number else n for n in step.reads)) for step in program.steps
    )
    kept = [n for n in range(count, count + len(steps)) if n != number]
    return without_unused(renumbered(replace(program, steps=steps), kept))
