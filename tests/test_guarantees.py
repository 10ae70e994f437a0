"""docs/guarantees.md says what the tests say."""

from __future__ import annotations

import ast

import pytest

from docs.make_guarantees import PAGE, ROOT, guarantees, marks, page

SOURCE = """
import pytest

@pytest.mark.guarantee("a NaN is refused", "and so is an Inf")
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.guarantee("two  is\\n refused"))])
def test_refusals(n): ...

class TestLaws:
    @pytest.mark.guarantee("a | b = b | a")
    def test_commutes(self): ...

def test_without(): ...
"""


@pytest.mark.guarantee("this table lists every test that carries a guarantee, and is up to date")
def test_the_committed_page_is_up_to_date():
    assert PAGE.is_file(), "no docs/guarantees.md: run python docs/make_guarantees.py"
    assert PAGE.read_text("utf-8") == page(guarantees(ROOT / "tests")), "run python docs/make_guarantees.py"


def test_marks_are_found_on_functions_in_classes_and_in_parametrisations():
    assert list(marks(ast.parse(SOURCE), "file")) == [
        ("test_refusals", "a NaN is refused"),
        ("test_refusals", "and so is an Inf"),
        ("test_refusals", "two is refused"),
        ("TestLaws::test_commutes", "a | b = b | a"),
    ]


def test_a_bar_in_a_text_does_not_break_the_table():
    assert r"a \| b" in page([("circuit", "a | b", "tests/circuit/test_x.py::test_y")])


def test_a_guarantee_that_is_no_plain_string_is_refused():
    source = "@pytest.mark.guarantee(TEXT)\ndef test_x(): ..."
    with pytest.raises(ValueError, match="plain string"):
        list(marks(ast.parse(source), "file"))
