"""The studio on the MNIST perceptron: how soon a page opens, how soon a neuron's inputs are there, how large a file is.

    python -m tests.benchmarks.bench_studio

Needs the public test data, Chromium and Playwright. Targets: a page in 2 s, a neuron in 200 ms, 3 MB for 5,000 gates.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

import provnet
from provnet.applications.inspection import write_html
from tests.applications.inspection.browsing import Seen, chromium
from tests.benchmarks.clock import report
from tests.nets import Residual, data_folder, digits, mnist_mlp, seeded

NEURONS = 7


def opened(circuit: provnet.Circuit, browser: Any) -> tuple[Seen, float]:
    """Return a page on the circuit, and the seconds from the call to the first neuron in the browser."""
    start = time.perf_counter()
    studio = circuit.studio(browser=False)
    seen = Seen(browser.new_page())
    seen.page.goto(studio.url)
    seen.page.wait_for_selector(".node")
    return seen, time.perf_counter() - start


def expanded(seen: Seen) -> float:
    """Return the median of the seconds from a click on + until the neuron's inputs are drawn, by the page's clock."""
    seen.idle()
    spent = []
    for number in range(1, NEURONS + 1):
        spent.append(seen.page.evaluate(EXPAND, number) / 1e3)
        seen.idle()
    return median(spent)


EXPAND = """async (number) => {
  const nodes = () => document.querySelectorAll('.node').length, before = nodes(), start = performance.now();
  document.querySelectorAll('.more.in')[number].click();
  while (nodes() === before) await new Promise((done) => requestAnimationFrame(done));
  return performance.now() - start;
}"""


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    folder = data_folder()
    if folder is None:
        report("studio", skipped="no test data")
        return
    images, _ = digits(folder, count=1)
    circuit = provnet.trace(mnist_mlp(folder), images.flatten(1))
    with chromium() as browser:
        opened(circuit, browser)  # the browser itself starts here
        seen, seconds = opened(provnet.trace(mnist_mlp(folder), images.flatten(1)), browser)
        report("studio", what="open, 265,300 edges", ms=seconds * 1e3, target_ms=2000)
        report("studio", what="expand a neuron", ms=expanded(seen) * 1e3, target_ms=200)
    torch.manual_seed(0)
    residual = provnet.trace(seeded(Residual), torch.randn(1, 2, 6, 6, dtype=torch.float64))
    with tempfile.TemporaryDirectory() as out:
        for what, subject in (("neurons", residual), ("gates", residual.gates())):
            size = write_html(subject, Path(out) / "cone.html").stat().st_size
            report("studio", what=f"file of {len(residual.gates()):,} gates, {what}", mb=size / 1e6, target_mb=3)


if __name__ == "__main__":
    main()
