"""Timing that holds on a noisy machine: the ways in turn, round after round, and medians of what each took."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch


def interleaved(ways: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 1) -> dict[str, float]:
    """Return the median seconds of each way over `rounds` rounds in which all run in turn, after `warm` rounds."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm + rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number >= warm:
                taken[name].append(time.perf_counter() - start)
    return {name: median(each) for name, each in taken.items()}


def laps(
    ways: Mapping[str, Callable[[], Mapping[str, float] | Any]], rounds: int, warm: int = 1
) -> dict[str, dict[str, float]]:
    """As `interleaved`, for ways that time their own parts and return {part: seconds}.

    Returns: for each way the medians of its parts; of a way that returns anything else its one part "whole".
    """
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    for number in range(warm + rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            found = way()
            parts = found if isinstance(found, Mapping) else {"whole": time.perf_counter() - start}
            if number >= warm:
                for part, seconds in parts.items():
                    taken[name].setdefault(part, []).append(seconds)
    return {name: {part: median(each) for part, each in parts.items()} for name, parts in taken.items()}


class Peak:
    """The largest resident memory while the block runs, above what it was at its start, in bytes (Linux)."""

    def __enter__(self) -> Peak:
        self.start = self.largest = resident()
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._stop.wait(0.005):
            self.largest = max(self.largest, resident())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watch.join()

    @property
    def bytes(self) -> int:
        return self.largest - self.start


def resident() -> int:
    """Return the bytes of memory that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def report(benchmark: str, **figures: Any) -> None:
    """Print one JSON line: the benchmark's name, its figures, and what it ran on."""
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "processor": platform.machine()}
    line = {"benchmark": benchmark, **figures, **machine}
    REPORTED.append(line)
    print(json.dumps(line), flush=True)


REPORTED: list[dict[str, Any]] = []
"""What this process has printed."""
