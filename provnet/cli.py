"""The command line: `provnet demo | trace | eval | formula | draw | studio | list`, each a few calls."""

from __future__ import annotations

import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from provnet import __version__
from provnet.applications.command_questions import (
    describe,
    describe_circuit,
    describe_plainly,
    numbers,
    one_line,
    open_circuit,
    open_model,
    parse_neurons,
    parse_target,
    part_of,
    read_classes,
    rule_of,
    theta_of,
    to_json,
)
from provnet.applications.coverage import coverage
from provnet.applications.demo import run_demo
from provnet.applications.inspection import studio, write_html
from provnet.applications.inspection.answers import SIDE_BY_SIDE
from provnet.applications.inspection.whole_cones import LIMIT as PAGE_LIMIT
from provnet.applications.outputs import require_free, require_result, write_result
from provnet.command import help_text
from provnet.errors import OptionError, ProvnetError
from provnet.face import save
from provnet.rules.lrp.base import REGISTRY as RULES
from provnet.rules.ops.base import REGISTRY as OPS
from provnet.semirings.annotations.base import REGISTRY as ANNOTATIONS
from provnet.semirings.base import REGISTRY as SEMIRINGS
from provnet.writers.base import REGISTRY as WRITERS
from provnet.writers.base import write


class OneMessage(TyperGroup):
    """Shows what provnet refuses as one message and exits with 2, and warnings as notes."""

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            try:
                return super().invoke(ctx)
            except ProvnetError as error:
                typer.echo(f"provnet: {error}", err=True)
                raise typer.Exit(2) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the same help as `provnet --help` does without loading anything."""
        typer.echo(help_text(), nl=False)


def _note(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"provnet: note: {message}", err=True)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"provnet {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=OneMessage,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="One execution of a PyTorch model as a provenance circuit, evaluated in any semiring.",
)

Model = Annotated[
    str,
    typer.Argument(help="package.module:callable (a torch module, or a function that returns one), or a saved circuit"),
]
Input = Annotated[Path | None, typer.Argument(help="input: .npy, .safetensors or an image; none for a saved circuit")]
Key = Annotated[str | None, typer.Option(help="which tensor of a .safetensors file")]
Single = Annotated[bool, typer.Option("--single", help="the array is one example: add the axis of examples")]
Size = Annotated[int | None, typer.Option(help="image: shorter side resized to this, then the central square")]
Mean = Annotated[str | None, typer.Option(help="image: subtracted, one number or three with commas")]
Std = Annotated[str | None, typer.Option(help="image: divided by, one number or three with commas")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]
RuleName = Annotated[str, typer.Option("--rule", help="see: provnet list rules; with parameters as gamma:gamma=0.5")]
Theta = Annotated[str | None, typer.Option(help="threshold: a number, or path=number,… with globs")]
Keep = Annotated[int | None, typer.Option(help="only the k best paths, in Viterbi")]
Share = Annotated[float | None, typer.Option(help="only the heaviest paths that carry this share of the value")]
Dead = Annotated[bool, typer.Option("--dead/--no-dead", help="keep what this execution switched off")]
Classes = Annotated[Path | None, typer.Option(help="text file with the outputs' names, one a line")]
Force = Annotated[bool, typer.Option("--force", help="write over what exists")]
Target = Annotated[str, typer.Option(help="class, full index with commas, or 'predicted'")]
Batch = Annotated[int, typer.Option(help="which example, from 0")]
At = Annotated[
    list[str], typer.Option(help="neuron such as fc1[0] or conv1[0,2,2], or a whole tensor's path; may be repeated")
]
Limit = Annotated[int, typer.Option(help="the most gates that are made")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder of the report")] = Path("demo"),
    data: Annotated[Path | None, typer.Option(help="folder with MNIST in IDX files and mnist_mlp.safetensors")] = None,
    digits: Annotated[int, typer.Option(help="how many digits are explained")] = 8,
    seed: Annotated[int, typer.Option(help="of the split and the training")] = 0,
    force: Force = False,
) -> None:
    """Explain handwritten digits in seven semirings and write a report."""
    answers = run_demo(out, data, digits, seed, force)
    typer.echo(
        f"{answers.subject.title}: {answers.subject.accuracy:.1%} of held-out digits right, θ {answers.search.theta:g}"
    )
    for question in answers.questions:
        typer.echo(f"  {question.name:<11} {question.spoken(answers.of(question, 0)):<12} {question.words}")
    typer.echo(f"report: {out / 'report.html'}")


@app.command()
def trace(
    model: Model,
    input: Input = None,
    save_to: Annotated[Path | None, typer.Option("--save", help="write the circuit to this file")] = None,
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    force: Force = False,
    table: Annotated[bool, typer.Option("--coverage", help="only list the ops and which of them have a rule")] = False,
    as_json: AsJson = False,
) -> None:
    """Record one execution and print the circuit's blocks."""
    if table:
        network, x = open_model(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
        typer.echo(str(coverage(network, x)))
        return
    if save_to is not None:
        require_free(save_to, force)
    circuit = open_circuit(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    typer.echo(to_json(describe_circuit(circuit)) if as_json else str(circuit.summary()))
    if save_to is not None:
        save(circuit, save_to)
        typer.echo(f"saved: {save_to}", err=as_json)


@app.command("eval")
def evaluate(
    model: Model,
    input: Input = None,
    semiring: Annotated[str, typer.Option(help="see: provnet list semirings")] = "real",
    target: Target = "predicted",
    rule: RuleName = "zero",
    theta: Theta = None,
    annotation: Annotated[str | None, typer.Option(help="Θ, see: provnet list annotations")] = None,
    out: Annotated[Path | None, typer.Option(help="write relevance of the input: .npy, .safetensors, .png")] = None,
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    force: Force = False,
    classes: Classes = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the circuit in a semiring: print a summary, write the relevance of the input."""
    if out is not None:
        require_result(out, force)
    chosen, asked, named = rule_of(rule), theta_of(theta, annotation), read_classes(classes)
    circuit = open_circuit(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    circuit.classes = named
    relevance = circuit.evaluate(semiring, target=parse_target(target), rule=chosen, annotation=asked)
    typer.echo(to_json(describe_plainly(relevance)) if as_json else describe(relevance))
    if out is not None:
        typer.echo(f"written: {write_result(relevance, out)}", err=as_json)


@app.command()
def formula(
    model: Model,
    input: Input = None,
    at: At = [],  # noqa: B006  # typer copies it
    target: Target = "predicted",
    batch: Batch = 0,
    latex: Annotated[bool, typer.Option("--latex", help="as LaTeX")] = False,
    sympy: Annotated[bool, typer.Option("--sympy", help="as a sympy expression")] = False,
    limit: Limit = 100_000,
    theta: Theta = None,
    keep: Keep = None,
    share: Share = None,
    dead: Dead = True,
    rule: RuleName = "zero",
    values: Annotated[str | None, typer.Option(help="semiring whose values stand beside the symbols")] = None,
    sort: Annotated[str | None, typer.Option(help="semiring by whose values terms are ordered")] = None,
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    as_json: AsJson = False,
) -> None:
    """Print the formula of neurons: ⊕ and ⊗ over one variable an edge."""
    if latex and sympy:
        raise OptionError("--latex and --sympy exclude each other: choose one.")
    neurons, chosen = parse_neurons(at), rule_of(rule)
    circuit = open_circuit(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    gates = circuit.gates(target=parse_target(target), batch=batch, at=neurons, limit=limit, dead=dead, rule=chosen)
    gates = part_of(gates, theta, keep, share, chosen)
    if gates.pruned is not None:
        typer.echo(f"provnet: note: {gates.pruned}", err=True)
    if as_json:
        formulas = {root: gates.formula(root, rule=chosen, values=values, sort=sort) for root in gates.roots}
        typer.echo(to_json({str(r): {"formula": str(f), "paths": f.terms} for r, f in formulas.items()}))
        return
    for root in gates.roots:
        found = gates.formula(root, rule=chosen, values=values, sort=sort)
        text = found.latex() if latex else str(found.sympy()) if sympy else found.text()
        typer.echo(text if len(gates.roots) == 1 or latex else f"{root}:\n{text}")


@app.command()
def draw(
    model: Model,
    paths: Annotated[
        list[Path], typer.Argument(help="input (none for a saved circuit), then .svg, .pdf, .png, .dot, .json, …")
    ],
    at: At = [],  # noqa: B006  # typer copies it
    target: Target = "predicted",
    batch: Batch = 0,
    limit: Limit = 500,
    theta: Theta = None,
    keep: Keep = None,
    share: Share = None,
    dead: Dead = True,
    rule: RuleName = "zero",
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw the circuit of neurons, or write it in another format: see provnet list writers."""
    if len(paths) > 2:
        raise OptionError(
            f"{len(paths)} files were given; wanted are the input (none for a saved circuit) and the drawing."
        )
    out, source = paths[-1], paths[0] if len(paths) == 2 else None
    require_free(out, force)
    WRITERS.get(out.suffix.lstrip(".").lower())
    neurons, chosen = parse_neurons(at), rule_of(rule)
    circuit = open_circuit(model, source, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    whole = limit if theta is keep is share is None else max(limit, 1_000_000)
    gates = circuit.gates(target=parse_target(target), batch=batch, at=neurons, limit=whole, dead=dead, rule=chosen)
    gates = part_of(gates, theta, keep, share, chosen)
    if gates.pruned is not None:
        typer.echo(f"provnet: note: {gates.pruned}", err=True)
    written = write(gates, out)
    made = {"gates": len(gates), "file": str(written)}
    typer.echo(to_json(made) if as_json else f"{len(gates):,} gates written: {written}")


@app.command("studio")
def open_studio(
    model: Model,
    input: Input = None,
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
) -> None:
    """Walk the circuit on a page in the browser, served on this machine only, or written to one file."""
    if html is not None:
        require_free(html, force)
    named = read_classes(classes)
    circuit = open_circuit(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    asked = {"target": parse_target(target), "example": batch, "rule": rule, "theta": theta, "classes": named}
    if html is not None:
        semirings = (semiring, *SIDE_BY_SIDE)
        neurons = parse_neurons(at)
        written = write_html(circuit, html, at=neurons, semirings=semirings, limit=limit, **asked)
        typer.echo(f"written: {written}")
        return
    if at:
        raise OptionError("--at goes with --html: the served page shows the whole circuit. Leave it out.")
    served = studio(circuit, port=port, browser=browser, semiring=semiring, **asked)
    typer.echo(f"{served.url}\nThe page ends with this command: press Ctrl+C.")
    served.wait()


class Listing(StrEnum):  # typer shows the values as choices
    """What `provnet list` can list."""

    semirings = "semirings"
    rules = "rules"
    annotations = "annotations"
    writers = "writers"
    ops = "ops"


@app.command("list")
def list_names(kind: Annotated[Listing, typer.Argument(help="what to list")], as_json: AsJson = False) -> None:
    """List semirings, rules, annotation functions, writers or ops, each with a sentence."""
    known = {
        Listing.semirings: SEMIRINGS,
        Listing.rules: RULES,
        Listing.annotations: ANNOTATIONS,
        Listing.writers: WRITERS,
        Listing.ops: OPS,
    }
    found = {name: one_line(known[kind].get(name)) for name in known[kind].names()}
    if as_json:
        typer.echo(to_json([{"name": name, "description": said} for name, said in found.items()]))
        return
    width = max(map(len, found))
    typer.echo("\n".join(f"{name:<{width}}  {said}".rstrip() for name, said in found.items()))


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """One execution of a PyTorch model as a provenance circuit, evaluated in any semiring."""
