"""docs/semirings/ and the drawn hierarchy say what the classes say."""

from __future__ import annotations

import pytest

from docs import make_hierarchy, make_semirings
from provnet.semirings import get, names
from provnet.symbolic.carriers.base import REGISTRY as CARRIERS
from provnet.symbolic.carriers.quotients import QUOTIENTS


@pytest.mark.guarantee("every registered semiring has a page, made from its class and up to date")
def test_the_committed_pages_are_up_to_date():
    wanted = make_semirings.pages()
    there = sorted(path.name for path in make_semirings.FOLDER.glob("*.md"))
    assert there == sorted(wanted), "run python docs/make_semirings.py"
    for name, text in wanted.items():
        committed = (make_semirings.FOLDER / name).read_text("utf-8")
        assert committed == text, f"docs/semirings/{name}: run python docs/make_semirings.py"


@pytest.mark.parametrize("name", names())
def test_every_semiring_says_what_it_answers(name: str):
    question = get(name).question
    assert question.strip() and question[0].isupper() and question.rstrip()[-1] in "?."


def test_no_two_semirings_answer_in_the_same_words():
    questions = [get(name).question for name in names()]
    questions += [CARRIERS.get(name).question for name in make_semirings.carrier_names()]
    assert len(set(questions)) == len(questions)


def test_a_page_has_the_laws_that_bind_its_class_and_no_others():
    page = make_semirings.numeric_page("max-times")
    assert "idempotence of ⊕" in page
    assert "absorption" not in page


@pytest.mark.guarantee("the drawn hierarchy holds every registered homomorphism")
def test_the_drawn_hierarchy_is_up_to_date():
    dot = make_hierarchy.drawing().source
    assert make_hierarchy.DOT.read_text("utf-8") == dot, "run python docs/make_hierarchy.py"
    svg = make_hierarchy.SVG.read_text("utf-8")
    assert make_hierarchy.stamp(dot) in svg, "run python docs/make_hierarchy.py"
    assert svg.count('class="edge"') == len(QUOTIENTS) + len(make_hierarchy.decided_by())


def test_each_semiring_hangs_below_the_carrier_that_decides_it():
    found = {name: carrier for carrier, below in make_hierarchy.decided_by().items() for name in below}
    assert set(found) == set(names())
    wanted = {"real": "n[x]", "counting": "n[x]", "arctic": "b[x]", "viterbi": "sorp", "boolean": "posbool"}
    assert {name: found[name] for name in wanted} == wanted
