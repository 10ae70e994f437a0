"""A checkpoint: the tally so far and how many batches are in it, in one file that one run at a time may write."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from provnet.applications.datasets.tally import Tally
from provnet.applications.datasets.tensor_file import read_tensors, write_tensors
from provnet.errors import FileFormatError, OptionError, OutputError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Checkpoint:
    """The file `path`, for a sweep with these settings: it is refused for another one."""

    path: Path
    settings: Mapping[str, Any]

    def read(self, empty: Tally) -> tuple[int, Tally]:
        """Return (batches done, tally so far); (0, empty) if there is no file yet.

        Raises: `FileFormatError`; `OptionError` if the file belongs to another sweep.
        """
        if not self.path.exists():
            return 0, empty
        plain, tensors = read_tensors(self.path)
        then, now = plain.get("sweep"), json.loads(json.dumps(dict(self.settings)))
        if then != now:
            differing = [key for key in now if not isinstance(then, dict) or then.get(key) != now[key]]
            raise OptionError(
                f"{self.path} is the checkpoint of another sweep: {', '.join(differing) or 'its settings'} differ. "
                "Give another path, or delete that file."
            )
        done = plain.get("done")
        if not isinstance(done, int) or done < 0 or not isinstance(plain.get("tally"), dict):
            raise FileFormatError(f"{self.path} is no checkpoint. Delete it, or give another path.")
        known = {semiring.name: semiring for semiring in empty.semirings.values()}
        return done, Tally.from_plain(plain["tally"], tensors, known, str(self.path))

    def write(self, done: int, tally: Tally) -> None:
        """Replace the file. Raises `OutputError`, and the old file is then as it was."""
        plain = {"sweep": dict(self.settings), "done": done, "tally": tally.plain()}
        write_tensors(self.path, plain, tally.tensors_by_name())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the checkpoint for this run alone. Raises `OutputError` if another one holds it.

        The system lets go of the lock when a process ends, however it ends.
        """
        lock = self.path.with_name(self.path.name + ".lock")
        try:
            handle = os.open(lock, os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise OutputError(f"{lock} cannot be written: {error.strerror}. Choose another place.") from error
        try:
            if fcntl is not None:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    raise OutputError(
                        f"another run is writing the checkpoint {self.path}. Wait for it, or give another path."
                    ) from error
            yield
        finally:
            os.close(handle)


def checkpoint_at(path: str | PathLike[str], settings: Mapping[str, Any], rank: int, ranks: int) -> Checkpoint:
    """Return the checkpoint of one worker: `path` itself, or with "rank-of-ranks" where there are several."""
    file = Path(path)
    return Checkpoint(file if ranks == 1 else file.with_name(f"{file.name}.{rank}-of-{ranks}"), settings)
