"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provnet.errors import OutputError
from provnet.writers.atomic import staged, write_bytes, write_string


def test_a_file_is_written_and_replaced(tmp_path: Path):
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    assert write_string(path, "⊕") == path
    os.link(path, other)
    assert path.read_bytes() == "⊕\n".encode()
    assert write_bytes(str(path), b"new") == path
    assert path.read_bytes() == b"new"
    assert other.read_bytes() == "⊕\n".encode(), "the old file was written over, not replaced"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


@pytest.mark.guarantee("nothing is left half-written")
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def fail() -> None:
        with staged(path) as draft:
            draft.write_bytes(b"half")
            assert path.read_bytes() == b"old"
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.guarantee("an unwritable output is refused")
def test_what_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a folder"):
        write_bytes(tmp_path / "folder", b"")
    with pytest.raises(OutputError, match=r"folder .*missing is missing"):
        write_bytes(tmp_path / "missing" / "a", b"")
    with pytest.raises(OutputError, match="missing: create it first"):
        write_bytes(tmp_path / "file" / "a", b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / ("a" * 300), b"")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            write_bytes(tmp_path / "a", b"")
    finally:
        tmp_path.chmod(0o700)
