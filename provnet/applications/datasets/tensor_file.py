"""Tensors and plain data in one safetensors file, which appears whole or not at all, and holds no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from provnet.errors import FileFormatError, InputError
from provnet.writers.atomic import write_bytes

VERSION = 1


def to_bytes(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return the file's content."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(held, metadata={"provnet": json.dumps({"version": VERSION, **plain})})


def from_bytes(data: bytes, where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return (plain data, tensors). Raises `FileFormatError`."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        plain = json.loads(header["__metadata__"]["provnet"])
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(
            f"{where} is no file that provnet wrote, or it was cut or changed ({type(error).__name__}). Write it anew."
        ) from error
    if not isinstance(plain, dict) or plain.get("version") != VERSION:
        raise FileFormatError(f"{where} has another version than {VERSION}. Read it with the provnet that wrote it.")
    return plain, tensors


def write_tensors(path: str | PathLike[str], plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a file. Raises `OutputError`; a file that was there before is then as it was."""
    write_bytes(path, to_bytes(plain, tensors))


def read_tensors(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file. Raises `InputError` if there is none, `FileFormatError`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Give the path of a file.") from error
    return from_bytes(data, str(path))
