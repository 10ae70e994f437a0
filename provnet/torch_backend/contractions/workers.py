"""Threads for kernels that release the interpreter's lock: as many as torch itself uses, kept from call to call.

A thread that is made for each call starts on its maker's core, and milliseconds pass before it is moved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

import torch

Task = Callable[[], None]


class _Workers:
    """A pool that follows `torch.set_num_threads` and is forgotten in a forked child, where its threads are not."""

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        self.size = 0

    def of(self, size: int) -> ThreadPoolExecutor:
        if self.pool is None or self.size != size:
            self.forget()
            self.pool, self.size = ThreadPoolExecutor(size, thread_name_prefix="provnet"), size
        return self.pool

    def forget(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=False)
        self.pool = None


_WORKERS = _Workers()


def _after_fork() -> None:
    _WORKERS.pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(tasks: Iterable[Task], alone: bool = False) -> None:
    """Run tasks, each of which writes a place of its own, in this thread (`alone`) or in this one and others.

    Every task has ended when it returns or raises: after an exception, an interrupt too, those not begun are dropped.
    """
    count = torch.get_num_threads()
    if alone or count == 1:
        for task in tasks:
            task()
        return
    waiting = list(tasks)
    waiting.reverse()

    def work() -> None:
        while waiting:
            try:
                task = waiting.pop()
            except IndexError:
                return  # another worker was faster
            task()

    others = [_WORKERS.of(count - 1).submit(work) for _ in range(min(count, len(waiting)) - 1)]
    try:
        work()
    finally:
        waiting.clear()
        wait(others)
    for other in others:
        other.result()
