"""The example notebook runs, shows what it holds, and every object in it shows itself."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.notebooks import Output, run, run_cell

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "07_notebook.ipynb"


def plain(text: str) -> str:
    """Return text without the addresses of objects, which differ from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


@pytest.mark.guarantee("the example notebook runs and shows what is stored in it; every object shows itself")
def test_the_notebook_shows_what_it_holds():
    if shutil.which("dot") is None:
        pytest.skip("the program dot is not installed: apt-get install graphviz")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    for cell, output in zip(cells, run(NOTEBOOK), strict=True):
        held = {one["output_type"]: one for one in cell["outputs"]}
        printed = "".join(held["stream"]["text"]) if "stream" in held else ""
        data = held["execute_result"]["data"] if "execute_result" in held else {}
        assert output.printed == printed
        assert set(output.shown) == set(data), "run python docs/make_notebook.py"
        if data:
            assert plain(output.shown["text/plain"]) == plain("".join(data["text/plain"]))
            assert {"text/html", "image/svg+xml"} & set(data), cell["source"]


def test_the_last_expression_is_shown_and_a_semicolon_hides_it():
    names: dict[str, object] = {}
    assert run_cell("x = 1\nprint(x)\nx + 1", names, "a cell") == Output("1\n", {"text/plain": "2"})
    assert run_cell("x + 1;", names, "a cell") == Output("", {})
    assert run_cell("y = x", names, "a cell") == Output("", {})
