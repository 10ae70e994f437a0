"""Commands that change inputs or compare answers: perturb, evidence, agree."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from provnet.applications.command_questions import options_of, parse_target, to_json, whole_numbers
from provnet.applications.comparison import agreement, box, inside, pointing_game
from provnet.applications.datasets.data_files import open_data
from provnet.applications.datasets.tally_text import matrix_text, table_text
from provnet.applications.evidence import CHANGES, evidence, table
from provnet.applications.perturbation import inverted, perturbation_curve
from provnet.cli.application import app
from provnet.cli.options import (
    AsJson,
    Count,
    Divide,
    Examples,
    First,
    Key,
    Labels,
    ModelName,
    RuleName,
    Seed,
    Semirings,
    Shape,
    Target,
    Theta,
)
from provnet.errors import OptionError
from provnet.face import trace

ALL_SEMIRINGS = ["real", "boolean", "counting", "viterbi", "tropical"]


class Change(StrEnum):  # typer shows the values as choices
    """What changed inputs become."""

    zero = "zero"
    mean = "mean"
    resampled = "resampled"
    inverted = "inverted"


class Mode(StrEnum):
    """Whether the most relevant inputs are changed first, or put back first."""

    deletion = "deletion"
    insertion = "insertion"


@app.command("perturb")
def perturb_inputs(
    model: ModelName,
    examples: Examples,
    labels: Labels = None,
    semiring: Semirings = ["real"],  # noqa: B006
    mode: Annotated[Mode, typer.Option(help="change the most relevant first, or put them back first")] = Mode.deletion,
    change: Annotated[Change, typer.Option(help="what changed inputs become")] = Change.zero,
    steps: Annotated[int, typer.Option(help="equal steps")] = 20,
    rule: RuleName = "zero",
    theta: Theta = None,
    seed: Seed = 0,
    key: Key = None,
    shape: Shape = None,
    divide: Divide = None,
    first: First = 0,
    count: Count = None,
    as_json: AsJson = False,
) -> None:
    """Change inputs in the order of their relevance, and follow the probability of the class."""
    asked = options_of(rule, theta)
    network, data = open_data(model, examples, labels, key, whole_numbers(shape), divide, first, count)
    x = data[0] if isinstance(data, tuple) else data
    changed = inverted if change == Change.inverted else CHANGES[change.value]
    target = data[1].tolist() if isinstance(data, tuple) else "predicted"
    results = trace(network, x).evaluate(semiring, target, **asked)
    classes = None if target == "predicted" else target
    curves = {}
    for result in results:
        costs = bool(result.semiring.zero == float("inf"))
        curves[result.semiring.name] = perturbation_curve(
            network, x, result.inputs, mode.value, classes, changed, steps, costs=costs, seed=seed
        )
    if as_json:
        plain = {
            name: {"area": c.area, "ties": c.ties, "steps": list(c.steps), "mean": c.mean.tolist()}
            for name, c in curves.items()
        }
        typer.echo(to_json(plain))
        return
    typer.echo(
        table_text([mode.value, "area", "ties"], [[n, f"{c.area:.4f}", f"{c.ties:.0%}"] for n, c in curves.items()])
    )


@app.command("evidence")
def evidence_of_answers(
    model: ModelName,
    examples: Examples,
    semiring: Semirings = ALL_SEMIRINGS,
    steps: Annotated[int, typer.Option(help="equal steps")] = 10,
    rule: RuleName = "zero",
    theta: Theta = None,
    seed: Seed = 0,
    key: Key = None,
    shape: Shape = None,
    divide: Divide = None,
    first: First = 0,
    count: Count = None,
    as_json: AsJson = False,
) -> None:
    """Ask which semirings' answers can be believed: take away what they call relevant."""
    asked = options_of(rule, theta)
    network, data = open_data(model, examples, None, key, whole_numbers(shape), divide, first, count)
    rows = evidence(network, data, semiring, steps=steps, seed=seed, **asked)
    typer.echo(to_json([vars(row) for row in rows]) if as_json else table(rows))


@app.command("agree")
def agreement_of_semirings(
    model: ModelName,
    examples: Examples,
    semiring: Semirings = ALL_SEMIRINGS,
    target: Target = "predicted",
    region: Annotated[str | None, typer.Option("--box", help="top,left,bottom,right: what lies inside, too")] = None,
    rule: RuleName = "zero",
    theta: Theta = None,
    seed: Seed = 0,
    key: Key = None,
    shape: Shape = None,
    divide: Divide = None,
    first: First = 0,
    count: Count = None,
    as_json: AsJson = False,
) -> None:
    """Compare semirings: rank correlations, and what lies inside a box."""
    asked, corners = options_of(rule, theta), whole_numbers(region)
    if corners and len(corners) != 4:
        raise OptionError(f"--box {region}: expected top,left,bottom,right.")
    network, data = open_data(model, examples, None, key, whole_numbers(shape), divide, first, count)
    results = trace(network, data).evaluate(semiring, parse_target(target), **asked)
    found = {result.semiring.name: result for result in results}
    costs = tuple(name for name, result in found.items() if result.semiring.zero == float("inf"))
    names, matrix = agreement({name: result.inputs for name, result in found.items()}, costs)
    plain: dict[str, Any] = {"names": names, "correlation": matrix.tolist()}
    if corners:
        place = box(tuple(data.shape[1:]), *corners)
        plain["area"] = float(place.double().mean())
        plain["inside"] = {n: float(inside(r.inputs, place).mean()) for n, r in found.items() if n not in costs}
        pointed = {n: pointing_game(r.inputs, place, n in costs, seed) for n, r in found.items()}
        plain["pointing"] = {n: float(hits.double().mean()) for n, hits in pointed.items()}
    if as_json:
        typer.echo(to_json(plain))
        return
    typer.echo(matrix_text("", names, matrix))
    if corners:
        rows = [
            [n, f"{plain['inside'][n]:.1%}" if n in plain["inside"] else "", f"{plain['pointing'][n]:.1%}"]
            for n in names
        ]
        typer.echo(table_text([f"box, {plain['area']:.1%} of the area", "inside", "pointing game"], rows))
