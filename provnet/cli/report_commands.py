"""Commands that write a whole report or serve a page: demo, studio, reproduce."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from provnet.applications.command_questions import (
    numbers,
    open_circuit,
    parse_neurons,
    parse_target,
    read_classes,
    saved_gates,
    to_json,
)
from provnet.applications.demo import run_demo
from provnet.applications.demo.answer_rows import json_text, rows
from provnet.applications.inspection import Studio, studio, write_html
from provnet.applications.inspection.algebras import SIDE_BY_SIDE
from provnet.applications.inspection.whole_cones import LIMIT as PAGE_LIMIT
from provnet.applications.outputs import require_free
from provnet.applications.reproduction import reproduce
from provnet.applications.reproduction.findings import Chapter, tally_of
from provnet.cli.application import app
from provnet.cli.options import (
    AsJson,
    At,
    Batch,
    Force,
    Input,
    Key,
    Mean,
    Model,
    More,
    Single,
    Size,
    Sources,
    Std,
    Target,
)
from provnet.errors import OptionError


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder of the report")] = Path("demo"),
    data: Annotated[Path | None, typer.Option(help="folder with MNIST in IDX files and mnist_mlp.safetensors")] = None,
    digits: Annotated[int, typer.Option(help="how many digits are explained")] = 8,
    seed: Annotated[int, typer.Option(help="of the split and the training")] = 0,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Explain handwritten digits in seven semirings and write a report."""
    answers = run_demo(out, data, digits, seed, force)
    if as_json:
        typer.echo(json_text(rows(answers), answers), nl=False)
        return
    typer.echo(
        f"{answers.subject.title}: {answers.subject.accuracy:.1%} of held-out digits right, θ {answers.search.theta:g}"
    )
    for question in answers.questions:
        typer.echo(f"  {question.name:<11} {question.spoken(answers.of(question, 0)):<12} {question.words}")
    typer.echo(f"report: {out / 'report.html'}")


@app.command("studio")
def open_studio(
    model: Model,
    input: Input = None,
    more: More = [],  # noqa: B006  # typer copies it
    sources: Sources = None,
    html: Annotated[Path | None, typer.Option(help="write a page of one file here instead of serving one")] = None,
    at: At = [],  # noqa: B006  # typer copies it
    semiring: Annotated[str, typer.Option(help="shown first, see: provnet list semirings")] = "real",
    target: Target = "predicted",
    rule: Annotated[str, typer.Option(help="see: provnet list rules")] = "zero",
    batch: Batch = 0,
    theta: Annotated[float | None, typer.Option(help="threshold of semirings that take one")] = None,
    classes: Annotated[Path | None, typer.Option(help="text file with the outputs' names, one a line")] = None,
    port: Annotated[int | None, typer.Option(help="port on 127.0.0.1; a free one unless given")] = None,
    browser: Annotated[bool, typer.Option(help="open the page in the browser")] = True,
    limit: Annotated[int, typer.Option(help="with --html: the most gates that the page may hold")] = PAGE_LIMIT,
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Walk the circuit on a page in the browser, served on this machine only, or written to one file."""
    if html is not None:
        require_free(html, force)
    named = read_classes(classes)
    gates = saved_gates(model)
    if gates is not None:
        if at or input is not None or more or sources or target != "predicted" or batch or named:
            raise OptionError(f"{model} holds gates, shown as they are: leave input, --target and their kin out.")
        shown = {"semirings": (semiring, *SIDE_BY_SIDE), "rule": rule, "theta": theta}
        if html is not None:
            _serve(write_html(gates, html, **shown), as_json)
        else:
            _serve(studio(gates, port=port, browser=browser, **shown), as_json)
        return
    read = {"key": key, "single": single, "size": size, "mean": numbers(mean), "std": numbers(std)}
    circuit = open_circuit(model, input, more, sources, **read)
    asked = {"target": parse_target(target), "example": batch, "rule": rule, "theta": theta, "classes": named}
    if html is not None:
        semirings = (semiring, *SIDE_BY_SIDE)
        neurons = parse_neurons(at)
        _serve(write_html(circuit, html, at=neurons, semirings=semirings, limit=limit, **asked), as_json)
        return
    if at:
        raise OptionError("--at goes with --html: the served page shows the whole circuit. Leave it out.")
    _serve(studio(circuit, port=port, browser=browser, semiring=semiring, **asked), as_json)


def _serve(made: Path | Studio, as_json: bool) -> None:
    """Say where a page is, and wait until a served one ends."""
    if isinstance(made, Path):
        typer.echo(to_json({"file": str(made)}) if as_json else f"written: {made}")
        return
    typer.echo(to_json({"url": made.url}) if as_json else f"{made.url}\nThe page ends with this command: press Ctrl+C.")
    made.wait()


class Reproduced(StrEnum):  # typer shows the values as choices
    """What `provnet reproduce` can reproduce."""

    mnist = "mnist"
    cnn = "cnn"


@app.command("reproduce")
def reproduce_figures(
    kind: Annotated[Reproduced, typer.Argument(help="the perceptron on digits, or convolutional networks")],
    out: Annotated[Path | None, typer.Option(help="folder of the pictures and results; reproduction-KIND")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of the data; $PROVNET_DATA")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="seconds, on little data; says nothing of the claims")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Reproduce the papers' figures and claims, and say what holds. Takes minutes."""
    place = Path(f"reproduction-{kind}") if out is None else out

    def tell(chapter: Chapter) -> None:
        typer.echo(f"{chapter.title}: {chapter.seconds:.0f} s", err=as_json)
        for claim in chapter.claims:
            typer.echo(f"  {claim.verdict:<8} {claim.said}", err=as_json)

    chapters = reproduce(kind, place, data, quick, force, tell)
    counts = tally_of(claim for chapter in chapters for claim in chapter.claims)
    if as_json:
        typer.echo(to_json({"folder": str(place), "verdicts": counts}))
        return
    typer.echo(f"{', '.join(f'{name}: {count}' for name, count in counts.items())}; written: {place}/page.md")
