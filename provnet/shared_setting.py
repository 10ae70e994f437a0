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
        self.change, self.lock, self.inside = change, threading.Lock(), 0
        self.entered: AbstractContextManager[object] | None = None

    def __call__(self) -> AbstractContextManager[None]:
        """Hold the change as long as the block runs."""
        return _Held(self)


class _Held:
    """One hold on a shared setting. Blocks are many and small, and a generator would cost as much as what it holds.

    `__exit__` calls nothing of ours: an interrupt between two calls would leave the setting changed.
    """

    def __init__(self, setting: SharedSetting) -> None:
        self._setting = setting

    def __enter__(self) -> None:
        setting = self._setting
        with setting.lock:
            if setting.inside == 0:
                setting.entered = setting.change()
                setting.entered.__enter__()
            setting.inside += 1

    def __exit__(self, *error: object) -> None:
        setting = self._setting
        with setting.lock:
            setting.inside -= 1
            if setting.inside == 0 and setting.entered is not None:
                setting.entered.__exit__(None, None, None)
                setting.entered = None
