"""Settings of torch that belong to the whole process, changed for a while by several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager


class SharedSetting:
    """A change that the first thread makes and the last one takes back.

    Were each thread to save and restore for itself, one would restore what another had set.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[object]]) -> None:
        """`change` makes the context manager that changes the setting, and puts it back as it was."""
        self._change, self._lock, self._inside = change, threading.Lock(), 0
        self._entered: AbstractContextManager[object] | None = None

    def __call__(self) -> AbstractContextManager[None]:
        """Hold the change as long as the block runs."""
        return _Held(self)

    def take(self) -> None:
        """Make the change, unless a thread has."""
        with self._lock:
            if self._inside == 0:
                self._entered = self._change()
                self._entered.__enter__()
            self._inside += 1

    def give(self) -> None:
        """Take the change back, unless a thread needs it still."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._entered is not None:
                self._entered.__exit__(None, None, None)
                self._entered = None


class _Held:
    """One hold on a shared setting. Blocks are many and small, and a generator would cost as much as what it holds."""

    def __init__(self, setting: SharedSetting) -> None:
        self._setting = setting

    def __enter__(self) -> None:
        self._setting.take()

    def __exit__(self, *error: object) -> None:
        self._setting.give()
