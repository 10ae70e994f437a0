"""Commands that ask one circuit: trace, eval, formula, draw, list."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from provnet.applications.command_questions import (
    describe,
    describe_circuit,
    describe_plainly,
    names_of,
    numbers,
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
from provnet.applications.outputs import require_free, require_result, write_result
from provnet.cli.application import app
from provnet.cli.options import (
    AsJson,
    At,
    Batch,
    Classes,
    Dead,
    Force,
    Input,
    Keep,
    Key,
    Limit,
    Mean,
    Model,
    More,
    RuleName,
    Share,
    Single,
    Size,
    Sources,
    Std,
    Target,
    Theta,
)
from provnet.errors import OptionError
from provnet.face import save
from provnet.listing import listed
from provnet.writers.base import REGISTRY as WRITERS
from provnet.writers.base import write


@app.command()
def trace(
    model: Model,
    input: Input = None,
    more: More = [],  # noqa: B006  # typer copies it
    sources: Sources = None,
    save_to: Annotated[Path | None, typer.Option("--save", help="write the circuit to this file")] = None,
    key: Key = None,
    single: Single = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    force: Force = False,
    table: Annotated[
        bool,
        typer.Option("--coverage", help="only list the ops, with their rules; exit with 1 if one has none"),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Record one execution and print the circuit's blocks."""
    read = {"key": key, "single": single, "size": size, "mean": numbers(mean), "std": numbers(std)}
    if table:
        network, args, kwargs = open_model(model, input, more, **read)
        found = coverage(network, *args, model_kwargs=kwargs, sources=names_of(sources))
        typer.echo(to_json([asdict(line) for line in found]) if as_json else str(found))
        if found.covered < found.nodes:
            raise typer.Exit(1)
        return
    if save_to is not None:
        require_free(save_to, force)
    circuit = open_circuit(model, input, more, sources, **read)
    typer.echo(to_json(describe_circuit(circuit)) if as_json else str(circuit.summary()))
    if save_to is not None:
        save(circuit, save_to)
        typer.echo(f"saved: {save_to}", err=as_json)


@app.command("eval")
def evaluate(
    model: Model,
    input: Input = None,
    more: More = [],  # noqa: B006  # typer copies it
    sources: Sources = None,
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
    read = {"key": key, "single": single, "size": size, "mean": numbers(mean), "std": numbers(std)}
    circuit = open_circuit(model, input, more, sources, **read)
    circuit.classes = named
    relevance = circuit.evaluate(semiring, target=parse_target(target), rule=chosen, annotation=asked)
    answer = to_json(describe_plainly(relevance)) if as_json else describe(relevance)
    written = None if out is None else write_result(relevance, out)
    typer.echo(answer)
    if written is not None:
        typer.echo(f"written: {written}", err=as_json)


@app.command()
def formula(
    model: Model,
    input: Input = None,
    more: More = [],  # noqa: B006  # typer copies it
    sources: Sources = None,
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
    read = {"key": key, "single": single, "size": size, "mean": numbers(mean), "std": numbers(std)}
    circuit = open_circuit(model, input, more, sources, **read)
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
    more: More = [],  # noqa: B006  # typer copies it
    sources: Sources = None,
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
    read = {"key": key, "single": single, "size": size, "mean": numbers(mean), "std": numbers(std)}
    circuit = open_circuit(model, source, more, sources, **read)
    whole = limit if theta is keep is share is None else max(limit, 1_000_000)
    gates = circuit.gates(target=parse_target(target), batch=batch, at=neurons, limit=whole, dead=dead, rule=chosen)
    gates = part_of(gates, theta, keep, share, chosen)
    if gates.pruned is not None:
        typer.echo(f"provnet: note: {gates.pruned}", err=True)
    written = write(gates, out)
    made = {"gates": len(gates), "file": str(written)}
    typer.echo(to_json(made) if as_json else f"{len(gates):,} gates written: {written}")


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
    typer.echo(listed(kind, as_json))
