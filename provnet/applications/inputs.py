"""Inputs from files: arrays, tensors, images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from provnet.errors import FileFormatError, InputError, MissingProgramError, OptionError, ProvnetError
from provnet.on_use import installed, on_use

if TYPE_CHECKING:
    from PIL import Image
else:
    Image = on_use("PIL.Image")

HAS_PILLOW = installed("PIL")

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def read_input(
    path: str | Path,
    *,
    key: str | None = None,
    single: bool = False,
    size: int | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Tensor:
    """Return the input that a file holds: `.npy`, `.npz`, `.safetensors`, or an image (then [1, 3, height, width]).

    key     the tensor of a `.npz` or `.safetensors` file that holds several.
    single  the array is one example: it gets an axis of examples, of size 1.
    size    an image is resized (bilinear) to this on its shorter side and cropped to the central square.
    mean, std   subtracted from and dividing an image's values in [0, 1]: one number for all channels, or one each.

    Raises: `InputError` if there is no such file or it is of no known kind; `FileFormatError` if it is damaged;
    `OptionError` for an option that does not fit; `MissingProgramError` for an image without Pillow.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"there is no file {file}. Give a .npy, a .npz, a .safetensors or an image.")
    kind = file.suffix.lower()
    if kind not in IMAGES and (size or mean or std):
        raise OptionError(f"{file} is no image, so --size, --mean and --std say nothing. Leave them out.")
    if kind == ".npy":
        found = _array(file)
    elif kind == ".npz":
        found = _chosen(file, read_arrays(file), key)
    elif kind == ".safetensors":
        found = _chosen(file, _tensors(file), key)
    elif kind in IMAGES:
        return read_image(file, size, mean, std)
    else:
        raise InputError(
            f"{file} is of no known kind: give .npy, .npz, .safetensors or an image ({', '.join(IMAGES)})."
        )
    return found[None] if single else found


def _array(file: Path) -> Tensor:
    try:
        found = np.load(file, allow_pickle=False)
        return torch.from_numpy(np.ascontiguousarray(found))
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise FileFormatError(
            f"{file} cannot be read as an array of numbers ({error}). Write it with numpy.save."
        ) from error


def read_arrays(file: Path) -> dict[str, Tensor]:
    """Return the arrays of an .npz file by their names. Raises `FileFormatError`."""
    try:
        with np.load(file, allow_pickle=False) as found:
            return {name: torch.from_numpy(np.ascontiguousarray(found[name])) for name in found.files}
    except (ValueError, OSError, EOFError, TypeError, BadZipFile) as error:
        raise FileFormatError(
            f"{file} cannot be read as arrays of numbers ({error}). Write it with numpy.savez."
        ) from error


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"{file} cannot be read ({error}). Write it with safetensors.torch.save_file.") from error


def _chosen(file: Path, found: dict[str, Tensor], key: str | None) -> Tensor:
    if key is None and len(found) == 1:
        return next(iter(found.values()))
    if key not in found:
        asked = "no key was given" if key is None else f"{key!r} is none of them"
        raise OptionError(
            f"{file} holds {', '.join(sorted(found)) or 'no tensor'}, and {asked}. Choose one with --key."
        )
    return found[key]


def read_image(file: Path, size: int | None, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return an image as [1, 3, height, width], RGB, values in [0, 1] before mean and std. Raises as `read_input`.

    Grey, black and white, palettes and RGB are read exactly, grey of 16 bits too. What would lose something is refused:
    transparent pixels, 16-bit colours, CMYK, several frames.
    """
    if not HAS_PILLOW:
        raise MissingProgramError(f"reading {file} takes the package Pillow: pip install 'provnet[demo]'.")
    try:
        with Image.open(file) as opened:
            depth = _png_depth(file) if opened.format == "PNG" else 8
            image = _colours(opened, depth, file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, ProvnetError):
            raise
        raise FileFormatError(f"{file} cannot be read as an image ({error}).") from error
    if size is not None:
        image = _square(image, size)
    largest = np.float32(65535 if image.mode == "F" else 255)
    pixels = np.array(image, np.float32) / largest
    pixels = np.stack([pixels] * 3, -1) if pixels.ndim == 2 else pixels
    x = torch.from_numpy(pixels).permute(2, 0, 1)
    shift, scale = (_channels(values, name) for values, name in ((mean or (0.0,), "mean"), (std or (1.0,), "std")))
    if bool((scale == 0).any()):
        raise OptionError("--std has a zero, by which nothing can be divided.")
    return ((x - shift) / scale)[None].contiguous()


def _colours(opened: Image.Image, depth: int, file: Path) -> Image.Image:
    """Return an opened image as RGB of 8 bits, or in mode F with grey from 0 to 65535. Raises `InputError`."""
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        raise InputError(f"{file} has {frames} frames, of which one would be read: save that frame alone.")
    if depth == 16:
        if opened.mode not in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
            raise InputError(
                f"{file} has colours of 16 bits, of which Pillow reads 8: save it as 8 bits, or as a .npy of [0, 1]."
            )
        return opened.convert("I").convert("F")
    if opened.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in opened.info:
        alpha = opened.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            raise InputError(f"{file} has transparent pixels, which have no colour: flatten it on a background first.")
        return opened.convert("RGBA").convert("RGB")
    if opened.mode not in ("1", "L", "P", "RGB"):
        raise InputError(
            f"{file} has the mode {opened.mode}, whose values do not all have a place in RGB: convert it to RGB first."
        )
    return opened.convert("RGB")


def _png_depth(file: Path) -> int:
    """Return the bits a channel that a PNG's header states: Pillow does not tell them of colours."""
    with file.open("rb") as content:
        return content.read(25)[24]


def _square(image: Image.Image, size: int) -> Image.Image:
    if size < 1:
        raise OptionError(f"--size {size}: give a number of pixels, at least 1.")
    shorter = min(image.size)
    if shorter != size:
        wide, high = (max(size, round(side * size / shorter)) for side in image.size)
        image = image.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _channels(values: Sequence[float], name: str) -> Tensor:
    if len(values) not in (1, 3):
        raise OptionError(f"--{name} has {len(values)} numbers; give one, or three for red, green and blue.")
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)
