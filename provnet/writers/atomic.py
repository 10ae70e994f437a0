"""Files appear whole or not at all: they are written beside their place and moved there when finished."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provnet.errors import OutputError


@contextmanager
def staged(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new empty file beside `path` that takes its place when the block ends, and vanishes if the block fails.

    A file that is there already is replaced. Raises `OutputError` if `path` is a folder, if its folder is missing, or
    if it cannot be written.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise OutputError(f"{target} is a folder: give the name of a file in it.")
        if not target.parent.is_dir():
            raise OutputError(
                f"{target} cannot be written, for the folder {target.parent} is missing: create it first."
            )
        draft = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
        draft.touch(exist_ok=False)
        try:
            yield draft
            os.replace(draft, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}. Choose another place.") from error


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file whole or not at all, and return its path. Raises `OutputError` as `staged` does."""
    with staged(path) as draft:
        draft.write_bytes(data)
    return Path(path)


def write_string(path: str | os.PathLike[str], text: str) -> Path:
    """Write UTF-8 text, its last line ended, whole or not at all. Raises `OutputError` as `staged` does."""
    return write_bytes(path, (text if text.endswith("\n") else text + "\n").encode())
