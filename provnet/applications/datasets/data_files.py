"""Datasets from files, for the command line: arrays of examples, and of their labels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from provnet.applications.idx import read_idx
from provnet.applications.inputs import read_input
from provnet.applications.models import load_model
from provnet.errors import InputError, OptionError

ARRAYS = (".npy", ".safetensors")


def read_array(path: str | Path, key: str | None = None) -> Tensor:
    """Return the array that a file holds: `.npy`, `.safetensors`, or IDX, gzipped or not, as MNIST has it.

    Raises: `InputError` if there is no such file; `FileFormatError` if it is damaged or of another kind; `OptionError`.
    """
    file = Path(path)
    if file.suffix.lower() in ARRAYS:
        return read_input(file, key=key)
    return torch.from_numpy(np.ascontiguousarray(read_idx(file)))


def open_data(
    model: str,
    examples: str | Path,
    labels: str | Path | None = None,
    key: str | None = None,
    shape: Sequence[int] = (),
    divide: float | None = None,
    first: int = 0,
    count: int | None = None,
) -> tuple[Any, Any]:
    """Return (model, data): the model `package.module:callable`, and data as a sweep takes it, with labels or without.

    shape    what each example is reshaped to.    divide   by what examples are divided, such as 255 for pixels.
    first, count   which examples; None: all from the first on.
    Examples take the model's device and floating dtype. Raises: `InputError`, `FileFormatError`, `OptionError`.
    """
    network = load_model(model)
    x, y = read_array(examples, key), None if labels is None else read_array(labels)
    if not x.dim() or not len(x):
        raise InputError(
            f"{examples} holds an array of shape {list(x.shape)}; expected one or more examples on axis 0."
        )
    if y is not None:
        y = _labels(y, x, labels, examples)
    if first < 0 or first >= len(x) or (count is not None and count < 1):
        raise OptionError(
            f"--first {first} --count {count}: there are {len(x)} examples; expected one or more of them."
        )
    chosen = slice(first, None if count is None else first + count)
    x = x[chosen]
    if divide is not None:
        if not divide > 0:
            raise OptionError(f"--divide {divide:g}; expected a number above 0.")
        x = x.float() / divide
    if shape:
        if prod(shape) != x[0].numel():
            raise OptionError(f"--shape {list(shape)} does not hold the {x[0].numel()} numbers of an example.")
        x = x.reshape(-1, *shape)
    like = next(chain(network.parameters(), network.buffers()), None) if isinstance(network, nn.Module) else None
    if like is not None and like.is_floating_point():
        x = x.to(like.device, like.dtype)
    return network, x if y is None else (x, y[chosen])


def labelled(data: Any, what: str) -> tuple[Tensor, Tensor]:
    """Return (examples, labels). Raises `InputError` if there are none, saying `what` needs them."""
    if not isinstance(data, tuple):
        raise InputError(f"{what} needs labels: give their file with --labels.")
    return data


def _labels(y: Tensor, x: Tensor, labels: Any, examples: Any) -> Tensor:
    if y.shape != (len(x),) or y.is_floating_point() or y.dtype == torch.bool:
        raise InputError(
            f"{labels} holds {y.dtype} of shape {list(y.shape)}, and {examples} {len(x)} examples; expected one whole "
            "number for each."
        )
    return y.long()
