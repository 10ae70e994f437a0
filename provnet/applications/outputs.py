"""Where results go: refused early if something is there already, written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from provnet.applications.heatmaps import png, sheet
from provnet.errors import DTypeError, OptionError, OutputError
from provnet.face import Relevance
from provnet.writers.atomic import write_bytes

RESULTS = (".npy", ".safetensors", ".png")


def require_free(path: str | Path, force: bool, folder: bool = False) -> Path:
    """Return `path` if it can be written, asked before any work is done. Raises `OutputError`.

    What exists is refused unless `force`; even then a folder does not give way to a file, nor a file to a folder.
    """
    target = Path(path)
    if target.is_dir() and not folder:
        raise OutputError(f"{target} is a folder: give the name of a file in it.")
    if target.exists() and folder and not target.is_dir():
        raise OutputError(f"{target} is a file: give the name of a folder.")
    if target.exists() and not force:
        raise OutputError(f"{target} exists already: choose another place, or write over it with --force.")
    above = target if folder and target.is_dir() else target.absolute().parent
    if not above.is_dir():
        raise OutputError(f"{target} cannot be written, for the folder {above} is missing: create it first.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(
            f"{target} cannot be written, for the folder {above} may not be written to: choose another place."
        )
    return target


def require_result(path: str | Path, force: bool) -> Path:
    """Return `path` if a result can be written there. Raises `OptionError` for an unknown ending, `OutputError`."""
    target = Path(path)
    if target.suffix.lower() not in RESULTS:
        raise OptionError(f"{target} should end in one of {', '.join(RESULTS)}, which says what to write.")
    return require_free(target, force)


def write_result(relevance: Relevance, path: Path) -> Path:
    """Write the sources' relevance: numbers (`.npy`; `.safetensors` with the biases' totals) or a picture (`.png`).

    Raises: `OptionError` where several sources are to go into a file of one; `DTypeError` for counts of any size.
    """
    kind, found = path.suffix.lower(), relevance.by_source
    if kind != ".safetensors":
        if len(found) > 1:
            raise OptionError(
                f"{path} holds the relevance of one input, and {', '.join(found)} are explained. Write .safetensors, "
                f"which holds each by its name, or explain one: --sources {next(iter(found))}."
            )
        only = next(iter(found.values()))
        return write_array(path, _numbers(only)) if kind == ".npy" else _write_picture(path, relevance, only)
    if not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise DTypeError(
            "exact counts are whole numbers of any size, which .safetensors cannot hold; write .npy as float64."
        )
    named = found if len(found) > 1 else {"inputs": next(iter(found.values()))}
    tensors = {**named, **{f"bias.{name}": total for name, total in relevance.bias.items()}}
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"semiring": relevance.semiring.name})
    return write_bytes(path, data)


def _write_picture(path: Path, relevance: Relevance, found: Any) -> Path:
    return write_bytes(path, png(sheet(relevance.semiring, found)))


def write_array(path: Path, array: np.ndarray) -> Path:
    """Write an array as `.npy`, whole or not at all, and return its path. Raises `OutputError`."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return write_bytes(path, file.getvalue())


def _numbers(found: Any) -> np.ndarray:
    return found.detach().cpu().numpy() if isinstance(found, torch.Tensor) else np.asarray(found, np.float64)


@contextmanager
def staged_folder(path: Path, force: bool) -> Iterator[Path]:
    """Yield a new empty folder beside `path` that takes its place when the block ends, and vanishes if the block fails.

    With `force`, an existing folder keeps what it has; files of the same names are replaced. Raises `OutputError`.
    """
    target = require_free(path, force, folder=True)
    draft = target.absolute().with_name(f".{target.absolute().name[:100]}.{secrets.token_hex(6)}.part")
    try:
        draft.mkdir()
        try:
            yield draft
            if target.is_dir():
                for file in sorted(draft.rglob("*")):
                    if file.is_file():
                        place = target / file.relative_to(draft)
                        place.parent.mkdir(parents=True, exist_ok=True)
                        os.replace(file, place)
            else:
                os.rename(draft, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(draft)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}. Choose another place.") from error
