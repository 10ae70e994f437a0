"""Inputs come as they are in the file; every file that cannot be read is named."""

from __future__ import annotations

import zlib
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


def saved(folder: Path, mode: str, kind: str = "png") -> tuple[Path, Any]:
    """An image of a ramp in one of Pillow's modes, and what each pixel is worth, from 0 to 1."""
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    image = pytest.importorskip("PIL.Image").fromarray(ramp).convert(mode)
    path = folder / f"{mode.replace(';', '')}.{kind}"
    image.save(path)
    return path, ramp / 255


@pytest.mark.guarantee("an image is read exactly, or refused: no mode loses data in silence")
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "LA"])
def test_modes_that_are_exact(tmp_path: Path, mode: str):
    pytest.importorskip("PIL.Image", reason="Pillow writes the image: extra `demo`")
    path, values = saved(tmp_path, mode)
    x = read_input(path)
    assert x.shape == (1, 3, 8, 8)
    np.testing.assert_array_equal(x[0].numpy(), np.broadcast_to(values.astype(np.float32), (3, 8, 8)))


def test_black_and_white_is_zero_and_one(tmp_path: Path):
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the image: extra `demo`")
    bits = np.eye(8, dtype=bool)
    image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_input(tmp_path / "bits.png")[0, 1].numpy(), bits.astype(np.float32))


@pytest.mark.guarantee("grey of 16 bits keeps all its levels")
def test_grey_of_16_bits_keeps_its_levels(tmp_path: Path):
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the image: extra `demo`")
    levels = (np.arange(64, dtype=np.uint16) * 8).reshape(8, 8)
    levels[0, 0] = 65535
    image.fromarray(levels).save(tmp_path / "grey.png")
    x = read_input(tmp_path / "grey.png")
    assert len(x.unique()) == 64
    np.testing.assert_array_equal(x[0, 2].numpy(), levels.astype(np.float32) / np.float32(65535))
    assert len(read_input(tmp_path / "grey.png", size=4).unique()) > 10


def test_modes_that_would_lose_something_are_refused(tmp_path: Path):
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the image: extra `demo`")
    with pytest.raises(InputError, match=r"mode CMYK.*convert it to RGB"):
        read_input(saved(tmp_path, "CMYK", "jpg")[0])
    for mode in ("RGBA", "LA"):
        clear = image.new(mode, (4, 4))
        clear.save(tmp_path / "clear.png")
        with pytest.raises(InputError, match="flatten it on a background"):
            read_input(tmp_path / "clear.png")
    palette = image.fromarray(np.eye(4, dtype=np.uint8) * 200).convert("P")
    palette.save(tmp_path / "hole.png", transparency=palette.getpixel((0, 0)))
    with pytest.raises(InputError, match="flatten it on a background"):
        read_input(tmp_path / "hole.png")
    frames = [image.new("L", (4, 4), grey) for grey in (0, 255)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="2 frames"):
        read_input(tmp_path / "film.gif")


def test_colours_of_16_bits_are_refused(tmp_path: Path):
    """Pillow reads them as 8 bits without a word, and cannot write them, so the file is made by hand."""
    pytest.importorskip("PIL.Image", reason="Pillow reads the image: extra `demo`")

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + check

    size = (2).to_bytes(4, "big")
    rows = (b"\0" + bytes(range(12))) * 2
    parts = [chunk(b"IHDR", size + size + bytes([16, 2, 0, 0, 0])), chunk(b"IDAT", zlib.compress(rows))]
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IEND", b"")]))
    with pytest.raises(InputError, match="colours of 16 bits"):
        read_input(tmp_path / "deep.png")
