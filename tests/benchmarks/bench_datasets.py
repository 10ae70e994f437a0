"""Sweeps over digits beside the plain forward pass over the same digits: the targets of whole datasets.

    python -m tests.benchmarks.bench_datasets [DIGITS]

Needs the public test data. One thread; × is the ratio of medians to the forward pass in the same rounds. Sweeps run in
batches of 256, against the forward pass in batches of 256, and in batches of the size that `sweep` chooses itself,
against the forward pass in batches of the size that is the fastest for it. Two processes are held against one, of one
thread each, on two copies of the digits.
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
FORWARD = (256, 512, 1024, 2048)
"""Sizes of batches that the forward pass is tried with."""
FOUR = ["real", "boolean", "counting", "viterbi"]
TARGETS = {
    "Boolean at every layer": 2.5,
    "real, Boolean, counting, Viterbi at every layer": 8.0,
    "mean |R| of the first layer in four semirings": 5.0,
}
ALL_FOUR = "real, Boolean, counting, Viterbi at every layer"
TARGET_ON, TARGET_OVERHEAD, TARGET_PROCESSES = 1.5, 0.05, 1.7


def forward(model: Any, x: torch.Tensor, size: int) -> Callable[[], None]:
    """Return the plain forward pass in batches of a size."""

    def passes() -> None:
        with torch.no_grad():
            for part in x.split(size):
                model(part)

    return passes


def sweeps(model: Any, x: torch.Tensor, y: torch.Tensor, size: int | None) -> dict[str, Callable[[], Any]]:
    """Return the ways over the whole dataset, in batches of a size; None: of the size that a sweep chooses."""
    asked: dict[str, Any] = {"target": "label", "progress": False, "batch_size": size}

    def four() -> Any:
        return provnet.sweep(model, (x, y), FOUR, at="*", combine="mean_abs", **asked)

    taken = size or four().settings["batch_size"]

    def bare() -> None:
        """Evaluation without a sweep: what the folds, the data loader and the tally add is measured against it."""
        circuit = provnet.trace(model, x[:taken])
        for part, labels in zip(x.split(taken), y.split(taken), strict=True):
            circuit.on(part).evaluate(FOUR, labels.tolist(), at="*")

    return {
        "Boolean at every layer": lambda: provnet.sweep(model, (x, y), "boolean", at="*", combine="frequency", **asked),
        ALL_FOUR: four,
        "mean |R| of the first layer in four semirings": lambda: relevance_scores(model, (x, y), "0", FOUR, **asked),
        "bare": bare,
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
    """Return the seconds that `count` processes of one thread take for a sweep, without what each does once: reading
    torch and compiled kernels."""
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
    asked: dict[str, Any] = {"target": "label", "at": "*", "combine": "mean_abs", "progress": False}
    provnet.sweep(model, (x[:256], y[:256]), FOUR, batch_size=64, **asked)  # two batches for each process
    start = time.perf_counter()
    provnet.sweep(model, data, FOUR, **asked)
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
    ways = {f"forward, {size}": forward(model, x, size) for size in FORWARD}
    kinds: dict[str, int | None] = {f"batches of {BATCH}": BATCH, "batches as sweep chooses them": None}
    for where, size in kinds.items():
        ways |= {f"{name}, {where}": way for name, way in sweeps(model, x, y, size).items()}
    taken = interleaved(ways, ROUNDS)
    fastest = min(FORWARD, key=lambda size: taken[f"forward, {size}"])
    for where, size in kinds.items():
        base = size or fastest
        once = taken[f"forward, {base}"]
        for name, target in TARGETS.items():
            ratio = taken[f"{name}, {where}"] / once
            report(f"datasets: {name}, {where}", digits=len(x), forward_batch=base, forward_s=round(once, 3),
                   ratio=round(ratio, 2), target=target, met=ratio <= target)  # fmt: skip
        over = taken[f"{ALL_FOUR}, {where}"] / taken[f"bare, {where}"] - 1
        report(f"datasets: sweep over bare evaluation, {where}", overhead=round(over, 3), target=TARGET_OVERHEAD,
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
