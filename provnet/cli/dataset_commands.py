"""Commands on whole datasets: sweep, masks, subnetworks, prune."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer

from provnet.applications.command_questions import numbers, options_of, parse_target, to_json, whole_numbers
from provnet.applications.datasets.data_files import labelled, open_data
from provnet.applications.datasets.folds import FOLDS
from provnet.applications.datasets.masks import class_masks, only_inputs, overlap
from provnet.applications.datasets.sweep import sweep
from provnet.applications.datasets.tally_text import describe_tally, matrix_text, table_text, tally_plainly
from provnet.applications.outputs import require_free, write_array
from provnet.applications.pruning import BASELINES, baseline_scores, pruning_curve, ranking, relevance_scores
from provnet.applications.subnetworks import accuracy_of, subnetworks, write_subnetworks
from provnet.cli.application import app
from provnet.cli.options import (
    AsJson,
    Batches,
    Checkpoint,
    Count,
    Divide,
    Examples,
    First,
    FixedBatches,
    Force,
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
from provnet.semirings.lookup import get as get_semiring


class By(StrEnum):
    """Whose class an example counts for."""

    label = "label"
    predicted = "predicted"


@app.command("sweep")
def sweep_data(
    model: ModelName,
    examples: Examples,
    labels: Labels = None,
    semiring: Semirings = ["real"],  # noqa: B006  # typer copies it
    target: Target = "predicted",
    at: Annotated[list[str], typer.Option(help="tensor, by path or glob; may be repeated; the sources")] = [],  # noqa: B006
    combine: Annotated[list[str], typer.Option(help=f"fold over examples: {', '.join(FOLDS)}")] = ["mean"],  # noqa: B006
    by: Annotated[By | None, typer.Option(help="keep the classes apart")] = None,
    channels: Annotated[bool, typer.Option("--channels", help="⊕ over positions: one element a channel")] = False,
    rule: RuleName = "zero",
    theta: Theta = None,
    batch_size: Batches = None,
    checkpoint: Checkpoint = None,
    out: Annotated[Path | None, typer.Option(help="write the tally: safetensors, for Tally.load")] = None,
    key: Key = None,
    shape: Shape = None,
    divide: Divide = None,
    first: First = 0,
    count: Count = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Fold the relevance of a dataset over its examples; under torchrun, on several processes."""
    if out is not None:
        require_free(out, force)
    asked = options_of(rule, theta)
    network, data = open_data(model, examples, labels, key, whole_numbers(shape), divide, first, count)
    tally = sweep(
        network,
        data,
        semiring,
        parse_target(target),
        at or None,
        combine,
        None if by is None else by.value,
        "positions" if channels else None,
        batch_size,
        checkpoint,
        **asked,
    )
    typer.echo(to_json(tally_plainly(tally)) if as_json else describe_tally(tally))
    if out is not None:
        tally.save(out)
        typer.echo(f"written: {out}", err=as_json)


@app.command("masks")
def masks_of_classes(
    model: ModelName,
    examples: Examples,
    labels: Labels = None,
    share: Annotated[str, typer.Option(help="all (AND), any (OR), or a share of the examples")] = "all",
    at: Annotated[str | None, typer.Option(help="tensor, by path; the source")] = None,
    by: Annotated[By, typer.Option(help="whose class an example counts for")] = By.label,
    semiring: Annotated[str, typer.Option(help="see: provnet list semirings")] = "boolean",
    rule: RuleName = "zero",
    theta: Theta = None,
    batch_size: Batches = None,
    checkpoint: Checkpoint = None,
    out: Annotated[Path | None, typer.Option(help="write the masks, classes first, as .npy")] = None,
    key: Key = None,
    shape: Shape = None,
    divide: Divide = None,
    first: First = 0,
    count: Count = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Say which neurons are relevant to each class, and how much classes have in common."""
    if out is not None:
        if out.suffix.lower() != ".npy":
            raise OptionError(f"{out} should end in .npy, which holds masks.")
        require_free(out, force)
    asked, wanted = options_of(rule, theta), share if share in ("all", "any") else numbers(share)[0]
    network, data = open_data(model, examples, labels, key, whole_numbers(shape), divide, first, count)
    if by == By.label:
        labelled(data, "a mask by label")
    found = class_masks(
        network, data, wanted, at, by.value, semiring=semiring, batch_size=batch_size, checkpoint=checkpoint, **asked
    )
    sizes, common = found.flatten(1).sum(1).tolist(), overlap(found)
    told = only_inputs(found, data[0], data[1], wanted) if at is None and isinstance(data, tuple) else []
    if as_json:
        typer.echo(to_json({"sizes": sizes, "overlap": common.tolist(), "only_inputs": told}))
    else:
        typer.echo(f"neurons of {found[0].numel()} in the mask of each class: {', '.join(map(str, sizes))}")
        typer.echo(matrix_text("class", [str(k) for k in range(len(sizes))], common))
    if told:
        typer.echo(f"provnet: note: the masks of the classes {told} only say where inputs are not 0", err=True)
    if out is not None:
        write_array(out, found.numpy())
        typer.echo(f"written: {out}", err=as_json)


@app.command("subnetworks")
def subnetworks_of_classes(
    model: ModelName,
    examples: Examples,
    labels: Labels = None,
    share: Annotated[str, typer.Option(help="all (AND), any (OR), or a share of the examples")] = "any",
    at: Annotated[list[str], typer.Option(help="tensor, by path or glob; may be repeated; the sources")] = [],  # noqa: B006
    weights: Annotated[list[str], typer.Option(help="parameter; may be repeated; all layers' weights")] = [],  # noqa: B006
    by: Annotated[By, typer.Option(help="whose class an example counts for")] = By.label,
    rule: RuleName = "zero",
    theta: Theta = None,
    batch_size: FixedBatches = 64,
    checkpoint: Checkpoint = None,
    out: Annotated[Path | None, typer.Option(help="write the masks: safetensors, classes first")] = None,
    key: Key = None,
    shape: Shape = None,
    divide: Divide = None,
    first: First = 0,
    count: Count = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Say which neurons and edges each class needs, what classes share, and what each part does alone."""
    if out is not None:
        require_free(out, force)
    asked, wanted = options_of(rule, theta), share if share in ("all", "any") else numbers(share)[0]
    network, data = open_data(model, examples, labels, key, whole_numbers(shape), divide, first, count)
    x, y = labelled(data, "a subnetwork")
    found = subnetworks(
        network,
        (x, y),
        wanted,  # type: ignore[arg-type]  # "all", "any" or a number, as the line above makes it
        at or None,
        weights or None,
        by.value,
        batch_size,
        checkpoint=checkpoint,
        **asked,
    )
    names = [str(label) for label in range(len(found))]
    common = torch.tensor([[one.overlap(other) for other in found] for one in found])
    whole, own = (
        [accuracy_of(label_model, x[y == label], y[y == label]) for label, label_model in enumerate(models)]
        for models in ([network] * len(found), [one.model(network) for one in found])
    )
    if as_json:
        sizes = [{name: int(mask.sum()) for name, mask in {**one.neurons, **one.weights}.items()} for one in found]
        plain = {"sizes": sizes, "overlap": common.tolist(), "accuracy": whole, "accuracy_alone": own}
        typer.echo(to_json(plain))
    else:
        rows = [
            [name, str(one.examples), *(str(int(mask.sum())) for mask in {**one.neurons, **one.weights}.values())]
            for name, one in zip(names, found, strict=True)
        ]
        ends = [["-" if share is None else f"{share:.1%}" for share in shares] for shares in (whole, own)]
        columns = ["class", "examples", *found[0].neurons, *found[0].weights, "right", "alone"]
        typer.echo(table_text(columns, [[*row, *end] for row, *end in zip(rows, *ends, strict=True)]))
        typer.echo("\nedges in common, over those of either:")
        typer.echo(matrix_text("class", names, common))
    if out is not None:
        write_subnetworks(out, found)
        typer.echo(f"written: {out}", err=as_json)


@app.command("prune")
def prune_layer(
    model: ModelName,
    examples: Examples,
    labels: Labels = None,
    layer: Annotated[str, typer.Option(help="path of a linear layer or convolution")] = "0",
    by: Annotated[list[str], typer.Option(help=f"a semiring, or {', '.join(BASELINES)}; may be repeated")] = ["real"],  # noqa: B006
    fold: Annotated[str, typer.Option(help="mean_abs, mean, or mean_finite for costs")] = "mean_abs",
    fractions: Annotated[str, typer.Option(help="shares that are pruned, with commas")] = "0,0.25,0.5,0.75,0.9",
    ranked: Annotated[
        int | None, typer.Option(help="examples to rank on; the rest measures. Half, unless given")
    ] = None,
    bias: Annotated[str, typer.Option(help="of a pruned neuron: remove or keep")] = "remove",
    rule: RuleName = "zero",
    theta: Theta = None,
    batch_size: Batches = None,
    seed: Seed = 0,
    key: Key = None,
    shape: Shape = None,
    divide: Divide = None,
    first: First = 0,
    count: Count = None,
    as_json: AsJson = False,
) -> None:
    """Rank a layer's neurons by relevance, and follow what the model loses as they go."""
    asked, steps = options_of(rule, theta), numbers(fractions)
    network, data = open_data(model, examples, labels, key, whole_numbers(shape), divide, first, count)
    x, y = labelled(data, "pruning")
    cut = len(x) // 2 if ranked is None else ranked
    if not 0 < cut < len(x):
        raise OptionError(f"--ranked {cut} of {len(x)} examples leaves none to rank on, or none to measure.")
    train, held = (x[:cut], y[:cut]), (x[cut:], y[cut:])
    scores = {name: baseline_scores(network, train, layer, name, seed) for name in by if name in BASELINES}
    folded: dict[str, list[str]] = {}  # one sweep for all semirings that are folded alike
    for name in by:
        if name not in BASELINES:
            folded.setdefault("mean_finite" if get_semiring(name).zero == float("inf") else fold, []).append(name)
    for chosen, names in folded.items():
        found = relevance_scores(network, train, layer, names, chosen, target="label", batch_size=batch_size, **asked)
        scores |= zip(names, found, strict=True)
    rows = {}
    for name in by:
        order = ranking(scores[name], seed)
        rows[name] = order.ties, pruning_curve(network, held, layer, order, steps, bias)
    if as_json:
        plain = {
            name: {"ties": ties, "accuracy": [s.accuracy for s in curve], "loss": [s.loss for s in curve]}
            for name, (ties, curve) in rows.items()
        }
        typer.echo(to_json({"fractions": list(steps), "ranked": cut, "measured": len(held[0]), "rankings": plain}))
        return
    columns = ["pruned", *(f"{step:.0%}" for step in steps), "ties"]
    typer.echo(
        table_text(columns, [[n, *(f"{s.accuracy:.1%}" for s in c), str(ties)] for n, (ties, c) in rows.items()])
    )
