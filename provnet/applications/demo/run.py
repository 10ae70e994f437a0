"""The demo from end to end: a network, its answers, a folder with the report."""

from __future__ import annotations

import warnings
from pathlib import Path

from provnet.applications.demo.answer_rows import csv_text, json_text, rows
from provnet.applications.demo.data import subject
from provnet.applications.demo.demo_answers import DemoAnswers, answer
from provnet.applications.demo.demo_pictures import Drawing, answer_picture, digit_picture, draw
from provnet.applications.demo.report import page
from provnet.applications.demo.summary import summary_svg
from provnet.applications.heatmaps import beside, png
from provnet.applications.inspection import write_html
from provnet.applications.outputs import require_free, staged_folder
from provnet.errors import MissingProgramWarning
from provnet.writers.atomic import write_bytes, write_string
from provnet.writers.latex import write_latex
from provnet.writers.text import write_text


def run_demo(
    out: str | Path = "demo", data: str | Path | None = None, digits: int = 8, seed: int = 0, force: bool = False
) -> DemoAnswers:
    """Explain `digits` held-out digits in seven semirings and write a report into the folder `out`.

    data    a folder with MNIST in IDX files and mnist_mlp.safetensors; None: scikit-learn's digits, trained on now.
    seed    of the split and the training; one seed, one output (times apart).
    force   write into a folder that exists.

    Raises: `OutputError`, before anything is computed; `MissingProgramError`, `InputError`, `FileFormatError`.
    """
    target = require_free(out, force, folder=True)
    answers = answer(subject(data, seed), digits)
    with staged_folder(target, force) as folder:
        drawing = write_folder(answers, folder)
    for what in drawing.missing:
        warnings.warn(what, MissingProgramWarning, stacklevel=2)
    return answers


def write_folder(answers: DemoAnswers, folder: Path) -> Drawing:
    """Write the report, its pictures, the table, the formula, the circuit drawn and to walk, into an empty folder."""
    write_heatmaps(answers, folder / "heatmaps")
    cone = answers.cone.gates
    write_text(cone, folder / "formula.txt")
    write_latex(cone, folder / "formula.tex")
    drawing = draw(cone, folder)
    write_html(cone, folder / "studio.html", title="provnet: one pixel's circuit")
    table = rows(answers)
    write_string(folder / "answers.csv", csv_text(table))
    write_string(folder / "answers.json", json_text(table, answers))
    write_string(folder / "summary.svg", summary_svg(answers))
    write_string(folder / "report.html", page(answers, drawing))
    return drawing


def write_heatmaps(answers: DemoAnswers, folder: Path) -> None:
    """Write one PNG for each digit and semiring, and `overview.png`: a row for each digit, its image first."""
    folder.mkdir()
    every = []
    for k in range(len(answers.chosen)):
        row = {"digit": digit_picture(answers, k)}
        row |= {q.name: answer_picture(answers, q, k) for q in answers.questions}
        for name, pixels in row.items():
            write_bytes(folder / f"{k:02}_{answers.label(k)}_{name}.png", png(pixels))
        every += row.values()
    write_bytes(folder / "overview.png", png(beside(every, 1 + len(answers.questions))))
