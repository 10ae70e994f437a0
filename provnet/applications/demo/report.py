"""The report as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

from provnet.applications.demo import sections
from provnet.applications.demo.demo_answers import DemoAnswers
from provnet.applications.demo.demo_pictures import Drawing
from provnet.applications.demo.style import STYLE

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="provnet demo"><title>provnet: one circuit, many answers</title>
<style>{style}</style></head><body><main>
{body}
<footer>Made by <code>provnet demo</code>. Method: Groudiev, Saha, Maniu, Extending Layer-wise Relevance Propagation
in Neural Networks using
Semiring Annotations, ProvenanceWeek 2025; Green, Karvounarakis, Tannen, Provenance Semirings, PODS 2007; Bach et al.,
PLOS ONE 10(7), 2015.</footer>
</main></body></html>
"""


def page(answers: DemoAnswers, drawing: Drawing) -> str:
    """Return the report. Only its section "Time" differs between two runs with one seed."""
    body = [
        sections.head(answers),
        sections.answers_table(answers),
        sections.every_digit(answers),
        sections.other_classes(answers),
        sections.threshold(answers),
        sections.formula(answers, drawing),
        sections.own_semiring(),
        sections.checks(answers),
        sections.times(answers),
        sections.again(answers),
    ]
    return PAGE.format(style=STYLE, body="\n".join(body))
