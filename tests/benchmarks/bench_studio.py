"""Inspection: formulas, drawings, lists, and the studio on the MNIST perceptron.

    python -m tests.benchmarks.bench_studio

The studio needs the public test data, Chromium and Playwright, the drawing the program dot. Targets: a formula of
10^5 gates in 1 s, an SVG of 300 gates in 2 s, `provnet list` in 0.6 s, a page in 2 s, a neuron in 200 ms, 3 MB for
5,000 gates.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

import provnet
from provnet.applications.inspection import write_html
from provnet.writers.base import write
from tests.applications.inspection.browsing import WHEEL, Seen, chromium, show_every_wire
from tests.benchmarks.clock import report
from tests.nets import Residual, data_folder, digits, mnist_mlp, perceptron, seeded

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


def seconds_of(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds of the quickest of three runs."""
    spent = []
    for _ in range(3):
        start = clock()
        work()
        spent.append(clock() - start)
    return min(spent)


def written() -> None:
    """Print how long formulas, drawings and lists take."""
    torch.manual_seed(0)
    wide = provnet.trace(perceptron(4, 300, 165, 10), torch.rand(1, 4)).gates(at="input[0]")
    printed = seconds_of(lambda: wide.formula().text(limit=1_000_000), time.process_time)
    report("studio", what=f"a formula of {len(wide):,} gates as text", ms=printed * 1e3, target_ms=1000)
    with tempfile.TemporaryDirectory() as out:
        gates = provnet.trace(perceptron(4, 24, 2), torch.rand(1, 4)).gates()
        drawn = seconds_of(lambda: write(gates, Path(out) / "gates.svg"))
        report("studio", what=f"SVG of {len(gates):,} gates", ms=drawn * 1e3, target_ms=2000)
    for arguments in (["--help"], ["list", "ops"]):
        command = [sys.executable, "-m", "provnet", *arguments]
        spent = seconds_of(lambda: subprocess.run(command, check=True, capture_output=True))  # noqa: B023
        report("studio", what=f"provnet {' '.join(arguments)}", ms=spent * 1e3, target_ms=600)


def fluid(browser: Any) -> None:
    """Print how long a turn of the wheel takes on a page with 10^5 wires."""
    with provnet.trace(perceptron(784, 130, 10), torch.rand(1, 784)).studio(browser=False) as studio:
        seen = Seen(browser.new_page()).open(studio.url)
        show_every_wire(seen)
        spent = median(seen.page.evaluate(WHEEL))
        report("studio", what=f"a turn of the wheel, {seen.page.locator('.count').inner_text()}", ms=spent)


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    written()
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
        fluid(browser)
    torch.manual_seed(0)
    residual = provnet.trace(seeded(Residual), torch.randn(1, 2, 6, 6, dtype=torch.float64))
    with tempfile.TemporaryDirectory() as out:
        for what, subject in (("neurons", residual), ("gates", residual.gates())):
            size = write_html(subject, Path(out) / "cone.html").stat().st_size
            report("studio", what=f"file of {len(residual.gates()):,} gates, {what}", mb=size / 1e6, target_mb=3)


if __name__ == "__main__":
    main()
