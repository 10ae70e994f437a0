"""What each section of the report shows, as plain values for its template."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from provnet.applications.demo.demo_answers import DemoAnswers
from provnet.applications.demo.demo_pictures import (
    Drawing,
    Image,
    answer_picture,
    class_picture,
    data_uri,
    digit_picture,
    image,
)
from provnet.applications.demo.demo_questions import DemoQuestion

Row = tuple[str, ...]


def the_run(a: DemoAnswers) -> list[tuple[str, str]]:
    """Return the facts of the run: (a number, what it counts)."""
    return [
        ("-".join(map(str, a.subject.sizes)), "perceptron with ReLU"),
        (f"{a.subject.accuracy:.1%}", f"right on {len(a.subject.labels)} held-out digits"),
        (f"{a.circuit.edges:,}", "edges, one variable each"),
        (f"{len(a.chosen)}", "digits explained"),
        (f"{len(a.questions)}", "questions, one circuit"),
    ]


def answer_rows(a: DemoAnswers) -> list[tuple[DemoQuestion, Image, str]]:
    """Return each question with its answer for the first digit: a picture and a number."""
    return [
        (q, image(answer_picture(a, q, 0), f"{q.name} relevance of a {a.label(0)}"), q.spoken(a.of(q, 0)))
        for q in a.questions
    ]


def digit_rows(a: DemoAnswers) -> list[dict[str, Any]]:
    """Return the grid: for each digit its picture, what it was named, and a picture and a number for each semiring."""
    rows = []
    for k, named in enumerate(a.predicted):
        digit = a.label(k)
        wrong = "" if digit == named else f" (it is a {digit})"
        answers = [
            (image(answer_picture(a, q, k), f"{q.name} of digit {digit}"), q.spoken(a.of(q, k))) for q in a.questions
        ]
        rows.append(
            {
                "digit": image(digit_picture(a, k), f"digit {digit}"),
                "named": f"named {named}{wrong}",
                "answers": answers,
            }
        )
    return rows


def class_strips(a: DemoAnswers) -> list[dict[str, Any]]:
    """Return the first digit asked about every class: answers differ at a good threshold, and not at 1e-9."""
    ink = int((a.subject.inputs[a.chosen[0]] > 0).sum())
    words = {
        "real": "The real semiring, started at each class's own logit, which may be negative: what raises it is red, "
        "what lowers it blue. Below: the pixels' sum, which is the logit but for the biases' part.",
        "boolean": f"Boolean at θ = {a.search.theta:g}: which pixels reach each class over strong edges. Below: how "
        "many.",
        "boolean at 1e-9": f"Boolean at θ = 1e-9: every class gets the same answer, the {ink} pixels that have ink.",
    }
    return [
        {
            "words": said,
            "pictures": [
                (image(class_picture(a, name, target), f"class {target}"), _sum(found))
                for target, found in enumerate(a.classes[name])
            ],
        }
        for name, said in words.items()
    ]


def _sum(relevance: torch.Tensor) -> str:
    return str(int(relevance.sum())) if relevance.dtype == torch.bool else f"{float(relevance.sum()):.2f}"


def drawn_cone(a: DemoAnswers, drawing: Drawing) -> dict[str, Any]:
    """Return the formula and the drawn circuit of one pixel."""
    cone = a.cone
    side = a.subject.images.shape[-1]
    pixel = cone.pixel.index[0]
    formula = cone.gates.formula()
    left = formula.variables  # none, if no edge of the first digit reaches the threshold
    return {
        "example": left[0] if left else cone.gates.variables[0].name,
        "row": pixel // side,
        "column": pixel % side,
        "pixel": str(cone.pixel),
        "whole_paths": f"{cone.whole_paths:,}",
        "whole_gates": f"{cone.whole_gates:,}",
        "paths": formula.terms,
        "gates": len(cone.gates),
        "formula": formula.text(),
        "drawn": data_uri(drawing.svg, "image/svg+xml") if drawing.svg else "",
        "source": "" if drawing.svg else drawing.files[0].read_text("utf-8"),
        "missing": drawing.missing,
    }


def conservation_rows(a: DemoAnswers) -> list[Row]:
    """Return what came to each layer and where it went, of the first digit, from the answer down; all at the end."""
    report = a.relevance["real"].conservation()
    rows = [
        (layer.path, _first(layer.came), _first(layer.passed), _first(layer.bias), _first(layer.lost))
        for layer in report.layers
    ]
    return [*rows, ("all", _first(report.start), _first(report.inputs), _first(report.sinks), "")]


def _first(x: torch.Tensor | None) -> str:
    return "–" if x is None else f"{float(x.reshape(-1)[0]):.6f}".replace("-0.000000", "0.000000")


def laws(a: DemoAnswers) -> list[tuple[str, str]]:
    """Return (what must hold, what was found) for this run."""
    r = {name: result.inputs for name, result in a.relevance.items()}
    theta = a.search.theta
    reached = r["viterbi"] > 0
    gap = float((-r["viterbi"][reached].log() - r["tropical"][reached]).abs().max())
    off = a.relevance["real"].conservation().residual()
    return [
        ("Boolean is counting > 0", _says(torch.equal(r["boolean"], r["counting"] > 0))),
        (f"Boolean at θ is Bottleneck ≥ θ (θ = {theta:g})", _says(torch.equal(r["boolean"], r["bottleneck"] >= theta))),
        ("tropical is −log of Viterbi", f"largest difference {gap:.1e}"),
        ("real: pixels and biases together make 1", f"off by {off:.1e} at most"),
        ("odds are never worse than Viterbi", _says(bool((r["odds"] >= r["viterbi"] * (1 - 1e-5)).all()))),
    ]


def _says(holds: bool) -> str:
    return "holds on every pixel" if holds else "FAILS"


def time_rows(a: DemoAnswers) -> list[Row]:
    """Return how long each step took."""
    return [(name, f"{1000 * seconds:,.1f} ms") for name, seconds in a.seconds.items()]


def lines(a: DemoAnswers) -> str:
    """Return the program that gets these answers, for a `model` and an `x` that are there."""
    shape = ", ".join(f"{i}-{o}" for i, o in pairwise(a.subject.sizes))
    return f"""import provnet

# model: layers {shape}
# x: [{len(a.chosen)}, {a.subject.sizes[0]}]
circuit = provnet.trace(model, x)
circuit.evaluate("viterbi").inputs                     # the strongest path from each pixel
circuit.evaluate("boolean", annotation=provnet.annotations.Threshold({a.search.theta:g})).inputs
circuit.evaluate("real", target=3).conservation()      # another class, and where its relevance went
circuit.evaluate("real", target=3, start="logit").inputs    # red for the class, blue against it
circuit.gates(at=("{a.circuit.sources[0]}", {a.cone.pixel.index[0]})).formula()        # left abstract
"""
