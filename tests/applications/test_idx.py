"""IDX files are read as they are written, and every damage is named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from provnet.applications.idx import TYPES, read_digits, read_idx
from provnet.errors import FileFormatError, InputError


def idx(array: np.ndarray) -> bytes:
    """Write an array as the format says: the slow twin of the reader."""
    code = {np.dtype(kind): code for code, kind in TYPES.items()}[array.dtype.newbyteorder(">")]
    return (
        bytes([0, 0, code, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(idx(np.array([7, 1], np.uint8)))
    return tmp_path


@given(
    array=st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]).flatmap(
        lambda kind: arrays(kind, array_shapes(max_dims=4, max_side=4))
    ),
    packed=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, packed: bool):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = read_idx(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_digits_are_found_under_both_spellings(folder: Path):
    images, labels = read_digits(folder)
    assert images.shape == (2, 4, 3)
    assert images[1, 0, 0] == 12
    assert labels.tolist() == [7, 1]


def test_mnist(data: Path):
    images, labels = read_digits(data / "mnist")
    assert images.shape == (10000, 28, 28)
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.guarantee("a truncated or damaged IDX file is refused, with both sizes")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no IDX file"),
        (b"\x89PNG\r\n", "no IDX file"),
        (b"\0\0\x07\x01\0\0\0\0", "no IDX file"),
        (idx(np.zeros((3, 2), np.uint8))[:9], "within its header, after 9 of 12 bytes"),
        (idx(np.zeros((3, 2), np.uint8))[:-1], "truncated.*takes 18 bytes, and there are 17"),
        (idx(np.zeros((3, 2), np.uint8)) + b"x", "after its end"),
        (gzip.compress(idx(np.zeros((3, 2), np.uint8)), mtime=0)[:-9], "cannot be unpacked"),
        (b"\x1f\x8bnot gzip at all", "cannot be unpacked"),
    ],
)
def test_damage_is_named(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(FileFormatError, match=message):
        read_idx(tmp_path / "file")


def test_a_missing_file_is_named(folder: Path):
    with pytest.raises(InputError, match="no file"):
        read_idx(folder / "nowhere")
    with pytest.raises(InputError, match="train-images-idx3-ubyte"):
        read_digits(folder, "train")
    with pytest.raises(InputError, match="'train' and 'test'"):
        read_digits(folder, "held-out")


def test_interchanged_and_unequal_files_are_refused(folder: Path):
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros((3, 2, 2), np.uint8)))
    with pytest.raises(FileFormatError, match="interchanged"):
        read_digits(folder, "train")
    (folder / "t10k-labels.idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(FileFormatError, match=r"2 images.*3 labels"):
        read_digits(folder)
