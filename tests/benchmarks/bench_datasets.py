"""Sweeps over digits beside the plain forward pass over the same digits: the targets of whole datasets.

    python -m tests.benchmarks.bench_datasets [DIGITS]

Needs the public test data. One thread; × is the ratio of medians to the forward pass, batch 256, in the same rounds.
Two processes are held against one, of one thread each, on two copies of the digits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import provnet
from provnet.applications.pruning import relevance_scores
from tests.benchmarks.clock import interleaved, report
from tests.nets import data_folder, digits, mnist_mlp

BATCH, ROUNDS = 256, 5
FOUR = ["real", "boolean", "counting", "viterbi"]
TARGETS = {
    "Boolean at every layer": 2.5,
    "real, Boolean, counting, Viterbi at every layer": 8.0,
    "mean |R| of the first layer in four semirings": 5.0,
}
TARGET_ON, TARGET_OVERHEAD, TARGET_PROCESSES = 1.5, 0.05, 1.7


def sweeps(model: Any, x: torch.Tensor, y: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Return the ways over the whole dataset, the plain forward pass first."""
    asked = {"target": "label", "batch_size": BATCH, "progress": False}

    def forward() -> None:
        with torch.no_grad():
            for part in x.split(BATCH):
                model(part)

    def bare(semirings: list[str]) -> Callable[[], None]:
        """Evaluation without a sweep: what the folds, the data loader and the tally add is measured against it."""

        def walk() -> None:
            circuit = provnet.trace(model, x[:BATCH])
            for part, labels in zip(x.split(BATCH), y.split(BATCH), strict=True):
                circuit.on(part).evaluate(semirings, labels.tolist(), at="*")

        return walk

    return {
        "forward": forward,
        "Boolean at every layer": lambda: provnet.sweep(model, (x, y), "boolean", at="*", combine="frequency", **asked),
        "real, Boolean, counting, Viterbi at every layer": lambda: provnet.sweep(
            model, (x, y), FOUR, at="*", combine="mean_abs", **asked
        ),
        "mean |R| of the first layer in four semirings": lambda: relevance_scores(model, (x, y), "0", FOUR, **asked),
        "bare evaluation, four semirings": bare(FOUR),
    }


def one_batch(model: Any, x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Return the ways for one batch: the gradient, the same circuit on other inputs, and a fresh trace."""
    circuit = provnet.trace(model, x)

    def gradient() -> None:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(model(leaf).max(1).values.sum(), leaf)

    return {
        "forward and gradient": gradient,
        "on, real": lambda: circuit.on(x).evaluate("real"),
        "trace, real": lambda: provnet.trace(model, x).evaluate("real"),
    }


def processes(count: int, copies: int) -> float:
    """Return the seconds that `count` processes of one thread take for a sweep, without their start."""
    port = str(29500 + os.getpid() % 2000)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                   "WORLD_SIZE": str(count)}  # fmt: skip
    command = [sys.executable, "-m", "tests.benchmarks.bench_datasets", "--worker", str(copies)]
    running = [
        subprocess.Popen(command, env={**environment, "RANK": str(k)}, stdout=subprocess.PIPE, text=True)
        for k in range(count)
    ]
    return max(float(process.communicate()[0].split()[-1]) for process in running)


def worker(copies: int) -> None:
    """Sweep over `copies` of the digits, in the group that the environment names, and print the seconds."""
    torch.set_num_threads(1)
    model, x, y = given(None)
    data = (x.repeat(copies, 1), y.repeat(copies))
    provnet.sweep(model, (x[:64], y[:64]), FOUR, "label", at="*", combine="mean_abs", progress=False)
    start = time.perf_counter()
    provnet.sweep(model, data, FOUR, "label", at="*", combine="mean_abs", batch_size=BATCH, progress=False)
    print(time.perf_counter() - start)


def given(count: int | None) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Return the perceptron, and the first digits."""
    folder = data_folder()
    assert folder is not None
    images, labels = digits(folder, 0, count or 10_000)
    return mnist_mlp(folder), images.flatten(1), labels


def main() -> None:
    """Print the figures."""
    if sys.argv[1:2] == ["--worker"]:
        worker(int(sys.argv[2]))
        return
    torch.set_num_threads(1)
    if data_folder() is None:
        report("datasets", skipped="no test data")
        return
    model, x, y = given(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    taken = interleaved(sweeps(model, x, y), ROUNDS)
    forward = taken["forward"]
    for name, target in TARGETS.items():
        ratio = taken[name] / forward
        report(f"datasets: {name}", digits=len(x), forward_s=round(forward, 3), ratio=round(ratio, 2), target=target,
               met=ratio <= target)  # fmt: skip
    bare = taken["bare evaluation, four semirings"]
    over = taken["real, Boolean, counting, Viterbi at every layer"] / bare - 1
    report("datasets: sweep over bare evaluation", overhead=round(over, 3), target=TARGET_OVERHEAD,
           met=over <= TARGET_OVERHEAD)  # fmt: skip
    taken = interleaved(one_batch(model, x[:BATCH]), 30, warm=3)
    base = taken["forward and gradient"]
    ratio, fresh = taken["on, real"] / base, taken["trace, real"] / base
    report("datasets: circuit.on and real", ratio=round(ratio, 2), fresh_trace=round(fresh, 2), target=TARGET_ON,
           met=ratio <= TARGET_ON)  # fmt: skip
    one, two = processes(1, 2), processes(2, 2)
    report("datasets: two processes over one", ratio=round(one / two, 2), target=TARGET_PROCESSES,
           met=one / two >= TARGET_PROCESSES)  # fmt: skip


if __name__ == "__main__":
    main()
