"""What a dataset's answers look like as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from provnet.applications.datasets.tally import Tally


def table_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: the first column to the left, the others to the right."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not k else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def matrix_text(corner: str, names: Sequence[str], matrix: Tensor) -> str:
    """Return a square matrix [n, n] of numbers as text, its rows and columns named."""
    rows = [[name, *(f"{value:.2f}" for value in row)] for name, row in zip(names, matrix.tolist(), strict=True)]
    return table_text([corner, *names], rows)


def _answers(tally: Tally) -> Iterator[tuple[str, str, str, int | None, Tensor]]:
    labels: list[int | None] = [None] if tally.classes == 1 else [None, *range(tally.classes)]
    for fold in tally.folds:
        if fold == "quantiles":
            continue  # a sketch, which is asked by `Tally.quantile`
        for semiring in tally.semirings:
            for at in tally.tensors:
                for label in labels:
                    if label is None or int(tally.examples[label]):
                        yield fold, semiring, at, label, tally.of(fold, semiring, at, label)


def tally_plainly(tally: Tally) -> dict[str, Any]:
    """Return a tally's folds as plain data, with all values; classes without an example are left out."""
    answers = [
        {"fold": fold, "semiring": semiring, "at": at, "class": label, "shape": list(x.shape), "values": x.tolist()}
        for fold, semiring, at, label, x in _answers(tally)
    ]
    return {"examples": tally.examples.tolist(), "answers": answers}


def describe_tally(tally: Tally) -> str:
    """Return a summary for people: a line for each fold, semiring, tensor and class."""
    rows = []
    for fold, semiring, at, label, x in _answers(tally):
        values = x.double()
        name = "all" if label is None else f"class {label}"
        ends = [f"{float(value):.4g}" for value in (values.min(), values.mean(), values.max())]
        rows.append([f"{fold} of {semiring} at {at}", name, str(x.numel()), *ends])
    if not rows:
        return repr(tally)
    return f"{tally!r}\n" + table_text(["fold", "examples", "neurons", "least", "mean", "most"], rows)
