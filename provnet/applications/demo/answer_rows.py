"""The table "one circuit, many answers", as rows for CSV, JSON and the report."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from provnet.applications.demo.demo_answers import DemoAnswers

COLUMNS: tuple[str, ...] = (
    "digit",
    "label",
    "predicted",
    "logit",
    "question",
    "semiring",
    "algebra",
    "annotation",
    "number",
    "meaning",
    "strongest_row",
    "strongest_column",
)


def rows(answers: DemoAnswers) -> list[dict[str, Any]]:
    """Return one row for each digit and question; `strongest` is the pixel that the picture shows darkest."""
    side = answers.subject.images.shape[-1]
    found = []
    for k, place in enumerate(answers.chosen):
        for q in answers.questions:
            relevance = answers.of(q, k)
            best = int(
                (
                    -relevance if q.name == "tropical" else relevance.long() if q.name == "boolean" else relevance
                ).argmax()
            )
            number = q.number(relevance)
            values = (
                place,
                answers.label(k),
                answers.predicted[k],
                round(float(answers.logits[k, answers.predicted[k]]), 6),
                q.words,
                q.name,
                q.algebra,
                q.theta,
                number if isinstance(number, int) else float(f"{number:.6g}"),
                q.measure,
                best // side,
                best % side,
            )
            found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def csv_text(table: list[dict[str, Any]]) -> str:
    """Return the rows as CSV (RFC 4180, with LF)."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return file.getvalue()


def json_text(table: list[dict[str, Any]], answers: DemoAnswers) -> str:
    """Return the rows as JSON, with the network and the search. JSON has no infinity: such a number is null."""
    search = answers.search
    head = {
        "network": "-".join(map(str, answers.subject.sizes)),
        "digits": answers.subject.title,
        "accuracy": round(answers.subject.accuracy, 6),
        "edges": answers.circuit.edges,
        "theta": search.theta,
        "search": [
            dict(
                zip(("theta", "apart", "same", "different", "relevant"), (t, *(round(x, 6) for x in row)), strict=True)
            )
            for t, *row in zip(search.grid, search.apart, search.same, search.different, search.relevant, strict=True)
        ],
    }
    clean = [{**row, "number": _finite(row["number"])} for row in table]
    return json.dumps({**head, "answers": clean}, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _finite(number: float) -> float | None:
    return number if abs(number) != float("inf") else None
