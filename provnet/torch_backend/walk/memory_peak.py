"""How much memory a stretch of work took at its peak, as the device tells it; None where it does not."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import Self

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """The largest memory while the block runs, above what was held at its start: `bytes`, None where nobody knows.

    cuda   the allocator's own count. It resets the caller's peak statistics of that device, as all who measure do.
    cpu    torch's allocator keeps no count, so it is the resident memory of the whole process, of which Linux keeps the
           high-water mark: other threads' work is in it, and memory that the C library kept for later use is not. That
           mark is reset at the start. Elsewhere than on Linux there is no mark to reset: `bytes` is None.

    Example: `with Peak(torch.device("cpu")) as peak: ...; print(peak.bytes)`
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._start: int | None = None

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._start = torch.cuda.memory_allocated(self.device)
        elif self.device.type == "cpu":
            self._start = _reset()
        return self

    def __exit__(self, *_: object) -> None:
        if self._start is None:
            return
        if self.device.type == "cuda":
            largest: int | None = torch.cuda.max_memory_allocated(self.device)
        else:
            largest = _status("VmHWM")
        self.bytes = None if largest is None else max(largest - self._start, 0)


def _reset() -> int | None:
    """Set the process's high-water mark to what is resident now and return that, in bytes; None if it cannot be."""
    # What the C library holds free would be used first, unseen. glibc gives it back when asked; others lack the call.
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR.write_text("5")  # resets the mark, touches nothing else: man 5 proc
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> int | None:
    """Return a figure of /proc/self/status in bytes."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = next((line.split() for line in lines if line.startswith(f"{name}:")), None)
    return None if found is None else int(found[1]) * 1024
