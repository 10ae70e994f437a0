"""Several inputs from the command line: positional ones, keywords, and entries of a dict that a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from provnet.applications.inputs import read_arrays, read_input
from provnet.errors import InputError, OptionError

Inputs = tuple[list[Tensor], dict[str, Any]]


def read_inputs(texts: Sequence[str | Path], **options: Any) -> Inputs:
    """Return the positional and the keyword arguments that texts name, one a text.

    texts   "x.npy" is the next positional argument; "mask=m.npy" the keyword `mask`; "batch.mask=m.npy" the entry
            `mask` of the dict that is the keyword `batch`. An .npz with several arrays and no key gives each by its
            name: as keywords, or as the entries of the keyword that is named.
    options  of `read_input`: key, single, size, mean, std. Those of images hold for images alone.
    Raises: as `read_input`; `OptionError` for a name that comes twice.
    """
    positional: list[Tensor] = []
    keywords: dict[str, Any] = {}
    for text in texts:
        name, equals, file = str(text).partition("=")
        if not equals or isinstance(text, Path):
            name, file = "", str(text)
        found = _read(Path(file), options)
        if name:
            _put(keywords, name, found)
        elif isinstance(found, Tensor):
            positional.append(found)
        else:
            for key, tensor in found.items():
                _put(keywords, key, tensor)
    return positional, keywords


def _read(file: Path, options: Mapping[str, Any]) -> Tensor | dict[str, Any]:
    """Return what one file holds: a tensor, or those of an .npz by their names."""
    if file.suffix.lower() == ".npz" and options.get("key") is None and file.is_file():
        arrays = read_arrays(file)
        if len(arrays) > 1:
            return {name: array[None] if options.get("single") else array for name, array in arrays.items()}
    image = {name: options[name] for name in ("size", "mean", "std") if options.get(name)}
    own = options if not image or _is_image(file) else {**options, "size": None, "mean": (), "std": ()}
    return read_input(file, **own)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() not in (".npy", ".npz", ".safetensors")


def _put(keywords: dict[str, Any], name: str, value: Any) -> None:
    """Put a value under a name, in the dict of what stands before a dot."""
    *path, last = name.split(".")
    place = keywords
    for part in path:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise OptionError(
                f"--input {name}=…: {part!r} is an input itself, so it has no entries. Name it otherwise."
            )
    if not all(part.isidentifier() for part in path[:1] or [last]):
        raise InputError(f"--input {name}=…: a keyword is a name of an argument, such as mask=mask.npy.")
    if last in place:
        raise OptionError(f"--input {name}=… came twice. Give each argument once.")
    place[last] = value
