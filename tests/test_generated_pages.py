"""Pages that are generated from the package's own tables are up to date."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from docs import make_conventions, make_listing
from provnet.circuit.conventions import CONVENTIONS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.guarantee("docs/conventions-of-evaluation.md lists every convention, and is up to date")
def test_the_page_of_conventions_is_up_to_date() -> None:
    page = make_conventions.PAGE.read_text("utf-8")
    assert page == make_conventions.page(), "run python docs/make_conventions.py"
    assert all(f"`{name}`" in page for name in CONVENTIONS)


@pytest.mark.slow
@pytest.mark.guarantee("docs/coverage.md says of every op of the zoo whether it has a rule, and is up to date")
def test_the_page_of_coverage_is_up_to_date() -> None:
    pinned = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if "transformers==" in line)
    try:
        installed = version("transformers")
    except PackageNotFoundError:
        pytest.skip("the package transformers is not installed")
    if pinned != f"transformers=={installed}":
        pytest.skip(f"the page is made with {pinned}, not {installed}")
    make_coverage = import_module("docs.make_coverage")  # it imports the zoo

    page = make_coverage.page(make_coverage.tables())
    assert make_coverage.PAGE.read_text("utf-8") == page, "run python docs/make_coverage.py"


@pytest.mark.guarantee("what `provnet list` prints without torch is what the registries hold")
def test_the_listing_is_up_to_date() -> None:
    assert make_listing.FILE.read_text("utf-8") == make_listing.text(), "run python docs/make_listing.py"
