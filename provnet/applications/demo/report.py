"""The report as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

import torch

from provnet.applications.demo import sections
from provnet.applications.demo.demo_answers import DemoAnswers
from provnet.applications.demo.demo_pictures import Drawing, curve, digit_picture, image
from provnet.applications.demo.odds import SOURCE
from provnet.applications.pages import render, text_of


def page(answers: DemoAnswers, drawing: Drawing) -> str:
    """Return the report. Only its section "Time" differs between two runs with one seed."""
    return render(
        "report.html.j2",
        title="provnet: one circuit, many answers",
        style=text_of("report.css"),
        a=answers,
        the_run=sections.the_run(answers),
        first_digit=image(digit_picture(answers, 0), f"a handwritten {answers.label(0)}"),
        answers=sections.answer_rows(answers),
        digits=sections.digit_rows(answers),
        classes=sections.class_strips(answers),
        curve=curve(answers.search),
        cone=sections.drawn_cone(answers, drawing),
        own=SOURCE.rstrip(),
        conservation=sections.conservation_rows(answers),
        laws=sections.laws(answers),
        threads=torch.get_num_threads(),
        times=sections.time_rows(answers),
        lines=sections.lines(answers),
    )
