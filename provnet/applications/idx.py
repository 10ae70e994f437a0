"""IDX files: the form in which MNIST and its kin are distributed."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provnet.errors import FileFormatError, InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of the magic number -> how numpy names the numbers that follow. Big-endian all."""

STEMS = {"train": "train", "test": "t10k"}


def read_idx(path: str | Path) -> NDArray[np.generic]:
    """Read one IDX file, gzipped or not, into an array of the shape and type that its header states.

    Raises: `InputError` if there is no such file; `FileFormatError` if it is no IDX file, is truncated, or is longer
    than its header says. Source of the format: Y. LeCun, C. Cortes, C. Burges, The MNIST database, "File formats".
    """
    data = _bytes(Path(path))
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or not data[3]:
        raise FileFormatError(
            f"{path} is no IDX file: it starts with the bytes {data[:4].hex(' ') or '(none)'}; an IDX file starts "
            f"with 00 00, a type ({', '.join(f'{t:02x}' for t in TYPES)}) and a number of axes. Give another file."
        )
    axes, kind = data[3], np.dtype(TYPES[data[2]])
    start = 4 + 4 * axes
    if len(data) < start:
        raise FileFormatError(
            f"{path} ends within its header, after {len(data)} of {start} bytes. Fetch the file again."
        )
    shape = struct.unpack(f">{axes}I", data[4:start])
    wanted = start + prod(shape) * kind.itemsize
    if len(data) != wanted:
        what = "is truncated" if len(data) < wanted else "has bytes after its end"
        raise FileFormatError(
            f"{path} {what}: its header states the shape {shape}, which takes {wanted} bytes, and there are "
            f"{len(data)}. Fetch the file again."
        )
    return np.frombuffer(data, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def read_digits(folder: str | Path, part: str = "test") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read images [n, height, width] (0 background, 255 ink) and labels [n] of one part of MNIST, "train" or "test".

    Files are found under their usual names, gzipped or not. Raises: `InputError` if one is missing; `FileFormatError`
    if one is damaged, is of another kind, or their lengths differ.
    """
    if part not in STEMS:
        raise InputError(f"part {part!r} of MNIST was asked for; there are {' and '.join(map(repr, STEMS))}.")
    images_file = _find(Path(folder), f"{STEMS[part]}-images", "idx3-ubyte")
    labels_file = _find(Path(folder), f"{STEMS[part]}-labels", "idx1-ubyte")
    images, labels = read_idx(images_file), read_idx(labels_file)
    for file, array, axes in ((images_file, images, 3), (labels_file, labels, 1)):
        if array.ndim != axes or array.dtype != np.uint8:
            raise FileFormatError(
                f"{file} holds {array.dtype} of shape {array.shape}; wanted are uint8 with {axes} "
                f"{'axis' if axes == 1 else 'axes'}. Are images and labels interchanged?"
            )
    if len(images) != len(labels):
        raise FileFormatError(
            f"{images_file} holds {len(images)} images and {labels_file} {len(labels)} labels. "
            f"They must be of one part of MNIST."
        )
    return images.astype(np.uint8), labels.astype(np.uint8)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"there is no file {path}. Give the path of an IDX file, gzipped or not.")
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise FileFormatError(f"{path} cannot be unpacked ({error}). Fetch the file again.") from error


def _find(folder: Path, stem: str, ending: str) -> Path:
    # Both spellings are in circulation: train-images-idx3-ubyte and train-images.idx3-ubyte.
    names = [f"{stem}{joint}{ending}{packed}" for joint in "-." for packed in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"no {names[0]} (or .gz) in {folder}. Give the folder that holds the four files of MNIST.")
