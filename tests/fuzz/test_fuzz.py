"""A bounded number of random programs from a fixed seed. `make fuzz` tries others for hours."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tests.fuzz import ops  # noqa: F401  # fills the table of ops
from tests.fuzz.checks import CHECKS, Case
from tests.fuzz.draw import OPS, draw_program
from tests.fuzz.program import Program, Source, Step
from tests.fuzz.shrink import failures, shrunk

SEED = 7_000
PROGRAMS = 90
PARTS = 6


@pytest.mark.slow
@pytest.mark.guarantee(
    "random programs agree with autograd, with edges listed one by one, with themselves one by one, by every route, as "
    "gates, from files and in threads"
)
@pytest.mark.parametrize("part", range(PARTS))
def test_random_programs(part):
    """Each failure shows the smallest program that was found for it, as Python that runs."""
    for seed in range(SEED + part, SEED + PROGRAMS, PARTS):
        found, _ = failures(draw_program(seed))
        assert not found, shrunk(found[0]).report()


def test_the_programs_are_of_many_kinds():
    """Most ops are drawn, and each law is asked often: a check that skips everything says nothing."""
    programs = [draw_program(seed) for seed in range(SEED, SEED + 30)]
    used = Counter(step.op for program in programs for step in program.steps)
    assert len(used) > len(OPS) / 2
    assert {program.batch for program in programs} == {1, 2, 3}
    assert {program.dtype for program in programs} == {"float32", "float64"}
    assert {len(program.sources) for program in programs} == {1, 2}
    assert {len(program.outputs) for program in programs} == {1, 2}


def test_a_seed_gives_one_program_and_its_text_gives_its_values():
    program = draw_program(SEED + 3)
    assert program == draw_program(SEED + 3)
    model, inputs = program.run()
    found = model(*inputs)
    found = found if isinstance(found, tuple) else (found,)
    values = program.values(model, inputs)
    for number, output in zip(program.outputs, found, strict=True):
        assert torch.equal(values[number], output)


LONG = Program(
    seed=1,
    batch=3,
    dtype="float64",
    sources=(Source((4,), 5),),
    steps=(
        Step("double", "{0} * 2", (0,), {}, "unit", plain=True),
        Step("matmul", "{0} @ self.w1", (1,), {"w1": "numbers(3, 4, 2)"}, "linear", plain=True),
        Step("leaky_relu", "F.leaky_relu({0}, 0.1)", (2,), {}, "unit", plain=True),
        Step("flip", "{0}.flip(-1)", (3,), {}, "index", plain=True),
    ),
    outputs=(4,),
)


def wrong_about_matmul(case: Case) -> None:
    assert all(step.op != "matmul" for step in case.program.steps), "a fault in matmul"


def test_a_failure_is_shrunk_to_what_it_takes_and_printed_as_a_program_that_runs():
    checks = {"wrong_about_matmul": wrong_about_matmul}
    (found,) = failures(LONG, checks)[0]
    small = shrunk(found, checks)
    assert [step.op for step in small.program.steps] == ["matmul"]
    assert small.program.batch == 1
    names: dict[str, object] = {}
    exec(small.report(), names)
    assert str(names["circuit"]).startswith("Circuit(Program, batch 1, 1 blocks, 8 edges")


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        ("gradient_rule_is_autograd", lambda found: [2 * r for r in found]),
        ("lrp_is_input_times_gradient", lambda found: [r.flip(-1) for r in found]),
        ("edge_lists_agree", lambda found: [r * 0 for r in found]),
    ],
)
def test_a_wrong_answer_is_noticed(check, broken):
    case = Case(LONG)
    CHECKS[check](case)
    right = case.evaluate
    case.evaluate = lambda *args, **options: broken(right(*args, **options))
    with pytest.raises(AssertionError):
        CHECKS[check](case)
