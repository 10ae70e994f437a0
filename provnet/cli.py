"""The command line: `provnet demo | trace | eval | formula | draw | list`. Thin: each command is a few calls."""

from __future__ import annotations

import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from provnet.applications.coverage import coverage
from provnet.applications.demo import run_demo
from provnet.applications.outputs import require_free, require_result, write_result
from provnet.applications.questions import (
    Question,
    describe,
    numbers,
    open_circuit,
    open_model,
    parse_neurons,
    parse_target,
    theta_of,
)
from provnet.errors import OptionError, ProvnetError
from provnet.face import save
from provnet.rules import names as rule_names
from provnet.rules.ops.base import REGISTRY as OPS
from provnet.semirings import annotations
from provnet.semirings import names as semiring_names
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


def _note(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"provnet: note: {message}", err=True)


app = typer.Typer(
    cls=OneMessage,
    no_args_is_help=True,
    add_completion=False,
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
) -> None:
    """Record one execution and print the circuit's blocks."""
    if table:
        network, x = open_model(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
        typer.echo(str(coverage(network, x)))
        return
    if save_to is not None:
        require_free(save_to, force)
    circuit = open_circuit(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    typer.echo(str(circuit.summary()))
    if save_to is not None:
        save(circuit, save_to)
        typer.echo(f"saved: {save_to}")


@app.command("eval")
def evaluate(
    model: Model,
    input: Input = None,
    semiring: Annotated[str, typer.Option(help="see: provnet list semirings")] = "real",
    target: Target = "predicted",
    rule: Annotated[str, typer.Option(help="see: provnet list rules")] = "zero",
    theta: Annotated[str | None, typer.Option(help="threshold: a number, or path=number,… with globs")] = None,
    annotation: Annotated[str | None, typer.Option(help="Θ, see: provnet list annotations")] = None,
    out: Annotated[Path | None, typer.Option(help="write relevance of the input: .npy, .safetensors, .png")] = None,
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    force: Force = False,
) -> None:
    """Evaluate the circuit in a semiring: print a summary, write the relevance of the input."""
    if out is not None:
        require_result(out, force)
    question = Question(semiring, parse_target(target), rule, theta_of(theta, annotation))
    circuit = open_circuit(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    relevance = question.ask(circuit)
    typer.echo(describe(relevance))
    if out is not None:
        typer.echo(f"written: {write_result(relevance, out)}")


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
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
) -> None:
    """Print the formula of neurons: ⊕ and ⊗ over one variable an edge."""
    if latex and sympy:
        raise OptionError("--latex and --sympy exclude each other: choose one.")
    neurons = parse_neurons(at)
    circuit = open_circuit(model, input, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    gates = circuit.gates(target=parse_target(target), batch=batch, at=neurons, limit=limit)
    for root in gates.roots:
        found = gates.formula(root)
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
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    force: Force = False,
) -> None:
    """Draw the circuit of neurons, or write it in another format: see provnet list writers."""
    if len(paths) > 2:
        raise OptionError(
            f"{len(paths)} files were given; wanted are the input (none for a saved circuit) and the drawing."
        )
    out, source = paths[-1], paths[0] if len(paths) == 2 else None
    require_free(out, force)
    WRITERS.get(out.suffix.lstrip(".").lower())
    neurons = parse_neurons(at)
    circuit = open_circuit(model, source, key=key, single=single, size=size, mean=numbers(mean), std=numbers(std))
    gates = circuit.gates(target=parse_target(target), batch=batch, at=neurons, limit=limit)
    typer.echo(f"{len(gates):,} gates written: {write(gates, out)}")


class Kind(StrEnum):  # typer shows the values as choices
    """What `provnet list` can list."""

    semirings = "semirings"
    rules = "rules"
    annotations = "annotations"
    writers = "writers"
    ops = "ops"


@app.command("list")
def list_names(kind: Annotated[Kind, typer.Argument(help="what to list")]) -> None:
    """List the names of semirings, rules, annotation functions, writers or ops."""
    known = {
        Kind.semirings: semiring_names,
        Kind.rules: rule_names,
        Kind.annotations: annotations.names,
        Kind.writers: WRITERS.names,
        Kind.ops: OPS.names,
    }
    typer.echo("\n".join(known[kind]()))
