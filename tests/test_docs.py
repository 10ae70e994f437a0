"""README.md and docs/ run: every fenced python block, each page in one namespace and in a folder of its own.

A ```text block right behind a ```python block is what the code prints. A page whose code reads the test data says
`<!-- needs: data -->`, one that needs an optional package `<!-- needs: sklearn -->`: where that is missing, it skips.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.nets import data_folder

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"<!--\s*needs:\s*(.*?)\s*-->")


@dataclass(frozen=True)
class Snippet:
    """One python block of a page: the line it starts at, and what it prints where the page says so."""

    line: int
    code: str
    printed: str | None


def snippets(text: str) -> list[Snippet]:
    """Return the python blocks of a page, in order."""
    fences = list(FENCE.finditer(text))
    found = []
    for number, fence in enumerate(fences):
        if fence[1] != "python":
            continue
        after = fences[number + 1] if number + 1 < len(fences) else None
        shown = after is not None and after[1] == "text" and not text[fence.end() : after.start()].strip()
        line = text.count("\n", 0, fence.start(2)) + 1
        found.append(Snippet(line, fence[2], after[2] if after is not None and shown else None))
    return found


def run(page: str, text: str) -> None:
    """Run a page's python blocks in one namespace. Raises what they raise, with the page's own line numbers."""
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for snippet in snippets(text):
        out = io.StringIO()
        code = compile("\n" * (snippet.line - 1) + snippet.code, page, "exec")
        with contextlib.redirect_stdout(out):
            exec(code, namespace)
        if snippet.printed is not None:
            assert plain(out.getvalue()) == plain(snippet.printed), f"{page}:{snippet.line} prints something else"


def plain(text: str) -> str:
    """Return a text without white space at the ends of lines, and without blank lines around it."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def lacking(text: str) -> str | None:
    """Return what a page needs and this machine has not, None if it has all."""
    for need in (need for line in NEEDS.findall(text) for need in re.split(r"[,\s]+", line)):
        if need == "data" and data_folder() is None:
            return "no test data: set PROVNET_DATA to its folder"
        if need != "data" and importlib.util.find_spec(need) is None:
            return f"the package {need} is not installed"
    return None


RUNNABLE = [page for page in PAGES if snippets(page.read_text("utf-8")) and page.name != "conventions.md"]


@pytest.mark.guarantee("every python block of README.md and docs/ runs, and prints what the page shows")
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = page.read_text("utf-8")
    if reason := lacking(text):
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    run(str(page), text)


SAMPLE = """
```python
x = 2
print("two ")
```
```text
two
```

words

```python
print(x + 1)
```

words between: not what it prints

```text
4
```
"""


def test_a_page_has_one_namespace_and_shows_what_it_prints():
    assert [s.printed for s in snippets(SAMPLE)] == ["two\n", None]
    assert [SAMPLE.splitlines()[s.line - 1] for s in snippets(SAMPLE)] == ["x = 2", "print(x + 1)"]
    run("sample", SAMPLE)


def test_a_page_that_shows_something_else_fails():
    with pytest.raises(AssertionError, match="sample:3 prints something else"):
        run("sample", SAMPLE.replace("two\n```", "three\n```"))


def test_a_page_that_raises_fails_at_its_own_line():
    with pytest.raises(NameError) as caught:
        run("sample", SAMPLE.replace("x = 2", "x = y"))
    assert caught.traceback[-1].lineno == 2  # counted from 0


def test_a_page_says_what_it_needs():
    assert lacking("words") is None
    assert lacking("<!-- needs: torch, no_such_package -->") == "the package no_such_package is not installed"
