"""Settings of torch that belong to the whole process, changed for a while by several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


class SharedSetting:
    """A change that the first thread makes and the last one takes back.

    Were each thread to save and restore for itself, one would restore what another had set.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[object]]) -> None:
        """`change` makes the context manager that changes the setting, and puts it back as it was."""
        self._change, self._lock, self._inside = change, threading.Lock(), 0
        self._entered: AbstractContextManager[object] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the change as long as the block runs."""
        with self._lock:
            if self._inside == 0:
                self._entered = self._change()
                self._entered.__enter__()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0 and self._entered is not None:
                    self._entered.__exit__(None, None, None)
                    self._entered = None
