"""What the pages show runs, and prints what stands below it. A fence "```python no-run" is only shown.

A page that reads the public test data says `<!-- needs: data -->`, one that draws by graphviz `<!-- needs: dot -->`;
they are skipped where there is none.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from provnet.rules.lrp import base as lrp
from provnet.rules.ops import base as ops
from provnet.semirings import base as semirings
from provnet.semirings.annotations import base as annotations
from provnet.symbolic.carriers import base as carriers
from provnet.writers import base as writers
from tests.nets import data_folder

ROOT = Path(__file__).resolve().parents[1]
SHOWN_ONLY = {"conventions.md"}  # pieces of code as examples of style
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in SHOWN_ONLY)]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<output>.*?)^```$)?", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield (line, code, the output that stands below it or None) of every Python block."""
    for found in BLOCK.finditer(page):
        yield page[: found.start("code")].count("\n"), found["code"], found["output"]


def with_code() -> list[Path]:
    return [page for page in PAGES if any(True for _ in blocks(page.read_text("utf-8")))]


REGISTRIES = (semirings.REGISTRY, annotations.REGISTRY, lrp.REGISTRY, ops.REGISTRY, carriers.REGISTRY, writers.REGISTRY)


@pytest.fixture
def as_found() -> Iterator[None]:
    """What a page registers is gone afterwards."""
    before = [dict(registry._entries) for registry in REGISTRIES]
    yield
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry._entries.clear()
        registry._entries.update(entries)  # type: ignore[arg-type]


@pytest.mark.usefixtures("as_found")
@pytest.mark.guarantee("every Python block of README and docs/ runs and prints what stands below it")
@pytest.mark.parametrize("page", with_code(), ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if "<!-- needs: dot -->" in page.read_text("utf-8") and shutil.which("dot") is None:
        pytest.skip("the program dot is not installed: apt-get install graphviz")
    if "<!-- needs: data -->" in page.read_text("utf-8") and data_folder() is None:
        pytest.skip("no test data: set PROVNET_DATA to its folder, or put it into ../shared/data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for line, code, wanted in blocks(page.read_text("utf-8")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # Leading lines, so that a traceback gives the line of the page.
            exec(compile("\n" * line + code, str(page), "exec", dont_inherit=True), names)
        if wanted is not None:
            assert printed.getvalue().rstrip() == wanted.rstrip(), f"{page.name}, line {line}"


def test_blocks_are_found_with_their_output():
    page = "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```python\nx = 1\n```\n\nwords\n\n```text\n2\n```\n"
    assert list(blocks(page)) == [(1, "print(1)\n", "1\n"), (9, "x = 1\n", None)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_gallery_shows_what_its_code_writes():
    """Each picture is written by a block above it, and lies where the page looks for it; no picture lies there idle."""
    text = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    shown = re.findall(r"\]\(pictures/gallery/([^)]+)\)", text)
    code = "".join(code for _, code, _ in blocks(text))
    assert all(f'"{name}"' in code or f'render("{name.partition(".")[0]}"' in code for name in shown)
    assert sorted(shown) == sorted(path.name for path in (ROOT / "docs" / "pictures" / "gallery").iterdir())
