"""Inputs come as they are in the file; every file that cannot be read is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from provnet.applications import inputs
from provnet.applications.inputs import read_input
from provnet.errors import FileFormatError, InputError, MissingProgramError, OptionError


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the photograph: extra `demo`")
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6] = (255, 0, 51)
    image.fromarray(pixels).save(tmp_path / "photograph.png")
    return tmp_path / "photograph.png"


def test_arrays_and_tensors(tmp_path: Path):
    x = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    np.save(tmp_path / "x.npy", x.numpy())
    save_file({"x": x, "y": x + 1}, tmp_path / "both.safetensors")
    save_file({"x": x}, tmp_path / "one.safetensors")
    assert torch.equal(read_input(tmp_path / "x.npy"), x)
    assert torch.equal(read_input(tmp_path / "x.npy", single=True), x[None])
    assert torch.equal(read_input(tmp_path / "one.safetensors"), x)
    assert torch.equal(read_input(tmp_path / "both.safetensors", key="y"), x + 1)
    with pytest.raises(OptionError, match=r"holds x, y.*--key"):
        read_input(tmp_path / "both.safetensors")


def test_an_image_is_a_batch_of_one_with_channels_first(photograph: Path):
    x = read_input(photograph)
    assert x.shape == (1, 3, 4, 8)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[0, :, 0, 3], torch.tensor([1.0, 0.0, 0.2]))


def test_an_image_is_cropped_centrally_and_normalised(photograph: Path):
    x = read_input(photograph, size=4, mean=(0.5, 0, 0), std=(0.5,))
    assert x.shape == (1, 3, 4, 4)
    torch.testing.assert_close(x[0, :, 1, 1], torch.tensor([1.0, 0.0, 0.4]))
    assert read_input(photograph, size=2).shape == (1, 3, 2, 2)


@pytest.mark.guarantee("an input file that is missing, damaged or of an unknown kind is refused by name")
def test_refusals(tmp_path: Path, photograph: Path):
    (tmp_path / "x.npy").write_bytes(b"no array")
    (tmp_path / "x.safetensors").write_bytes(b"no tensor")
    (tmp_path / "x.jpg").write_bytes(b"no image")
    (tmp_path / "x.txt").write_text("1 2 3")
    np.save(tmp_path / "words.npy", np.array(["a"]))
    for name in ("x.npy", "x.safetensors", "x.jpg", "words.npy"):
        with pytest.raises(FileFormatError, match=name):
            read_input(tmp_path / name)
    with pytest.raises(InputError, match="no known kind"):
        read_input(tmp_path / "x.txt")
    with pytest.raises(InputError, match="no file"):
        read_input(tmp_path / "nowhere.npy")
    np.save(tmp_path / "good.npy", np.zeros(3))
    with pytest.raises(OptionError, match="no image"):
        read_input(tmp_path / "good.npy", size=3)
    options: list[dict[str, Any]] = [{"mean": (1.0, 2.0)}, {"std": (0.0,)}, {"size": 0}]
    for wrong in options:
        with pytest.raises(OptionError):
            read_input(photograph, **wrong)


def test_an_image_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "x.png").write_bytes(b"")
    monkeypatch.setattr(inputs, "HAS_PILLOW", False)
    with pytest.raises(MissingProgramError, match=r"provnet\[demo\]"):
        read_input(tmp_path / "x.png")
