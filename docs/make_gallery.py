"""Make the pictures of docs/gallery.md by running its blocks, and the studio's screenshot where Chromium is installed.

    python docs/make_gallery.py

A picture that the page shows and no block writes is an error.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "pictures"

# Two runs give the same bytes: no date, no random names within an SVG.
os.environ["SOURCE_DATE_EPOCH"] = "0"
mpl.rcParams["svg.hashsalt"] = "provnet"


def run(folder: Path) -> dict[str, Any]:
    """Run the page's blocks in a folder, which gets their files. Returns: what they named."""
    names: dict[str, Any] = {"__name__": "page"}
    text = PAGE.read_text("utf-8")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
    return names


def shown() -> list[str]:
    """Return the names of the pictures that the page shows."""
    return re.findall(r"\]\(pictures/gallery/([^)]+)\)", PAGE.read_text("utf-8"))


def screenshot(circuit: Any) -> None:
    """Photograph the studio: the strongest neuron's inputs, the strongest of them chosen, its best path highlighted."""
    from tests.applications.inspection.browsing import Seen, chromium, number  # noqa: PLC0415  # Playwright may be missing

    with circuit.studio(browser=False, classes=circuit.classes) as studio, chromium() as browser:
        seen = Seen(browser.new_page(viewport={"width": 1280, "height": 800})).open(studio.url)
        seen.choose("Semiring", "viterbi").choose("Order by", "viterbi")
        (target,) = studio.requests.explorer.targets(studio.requests.explorer.question())
        values = {node: number(text) for node, text in seen.values().items() if node != target}
        strongest = max(values, key=lambda node: values[node])
        seen.node(strongest).locator(".more.in").click()
        seen.idle()
        inputs = {node: number(text) for node, text in seen.values().items() if node not in {target, *values}}
        seen.select(max(inputs, key=lambda node: inputs[node]))
        seen.page.get_by_role("button", name="Best paths").click()
        seen.idle().page.get_by_role("button", name="Fit").click()
        seen.idle().page.mouse.move(5, 5)
        seen.page.screenshot(path=PICTURES / "studio.png")


def main() -> None:
    """Make the pictures."""
    out = PICTURES / "gallery"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        names = run(Path(folder))
        for name in shown():
            shutil.copyfile(Path(folder) / name, out / name)
    if shutil.which("chromium") is not None:
        screenshot(names["circuit"])


if __name__ == "__main__":
    main()
