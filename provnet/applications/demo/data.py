"""The digits and the network of the demo: trained here, or MNIST's from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from provnet.applications.demo.train import perceptron, train
from provnet.applications.idx import read_digits
from provnet.errors import FileFormatError, InputError, MissingProgramError

try:
    from sklearn.datasets import load_digits

    HAS_SKLEARN = True
except ImportError:
    HAS_SKLEARN = False

MNIST_WEIGHTS = "mnist_mlp.safetensors"
MNIST_HELD_OUT = 8000
"""Images from here on of MNIST's test file were not shown to the network of `mnist_mlp.safetensors`."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What the demo explains: a network, and digits that it was not trained on.

    images [n, side, side] with values in [0, 1] (0 paper, 1 ink), labels [n]; `accuracy` on all of them.
    """

    title: str
    model: nn.Sequential
    sizes: tuple[int, ...]
    images: Tensor
    labels: NDArray[np.int64]
    accuracy: float
    origin: str

    @property
    def inputs(self) -> Tensor:
        """The images as the network takes them, [n, side²]."""
        return self.images.flatten(1)

    def chosen(self, count: int) -> list[int]:
        """Return `count` of the digits: the first 0, the first 1, … the first 9, the second 0, …"""
        places = [np.flatnonzero(self.labels == k).tolist() for k in range(10)]
        order = [of[turn] for turn in range(max(map(len, places))) for of in places if turn < len(of)]
        if not 1 <= count <= len(order):
            raise InputError(f"{count} digits were asked for; there are 1 to {len(order)} held out.")
        return order[:count]


def subject(folder: str | Path | None, seed: int) -> Subject:
    """Return the network and its digits: scikit-learn's, trained now, or those of MNIST in `folder`.

    Raises: `MissingProgramError` without scikit-learn; `InputError`, `FileFormatError` for missing or damaged files.
    """
    return small(seed) if folder is None else mnist(Path(folder))


def small(seed: int) -> Subject:
    """Train 64-32-10 on three quarters of scikit-learn's 1797 digits; the last quarter of a shuffle is held out."""
    if not HAS_SKLEARN:
        raise MissingProgramError(
            "the demo's digits come with the package scikit-learn, which is not installed: "
            "pip install 'provnet[demo]', or give MNIST with --data DIR."
        )
    bundle: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(bundle.target))
    images = torch.from_numpy(bundle.images[order] / 16).to(torch.float32)
    labels = bundle.target[order].astype(np.int64)
    cut = len(labels) * 3 // 4
    sizes = (64, 32, 10)
    model = perceptron(sizes, seed)
    train(model, images[:cut].flatten(1), torch.from_numpy(labels[:cut]))
    return Subject(
        "scikit-learn's bundled digits, 8 × 8",
        model,
        sizes,
        images[cut:],
        labels[cut:],
        accuracy(model, images[cut:], labels[cut:]),
        f"trained for this report on {cut:,} of {len(labels):,} digits, seed {seed}",
    )


def mnist(folder: Path) -> Subject:
    """Read MNIST's test file and the 784-300-100-10 network of [GSM25] from `folder` (digits in it or in mnist/)."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}. Give the one that holds {MNIST_WEIGHTS} and MNIST's IDX files.")
    weights = folder / MNIST_WEIGHTS
    if not weights.is_file():
        raise InputError(f"no {MNIST_WEIGHTS} in {folder}: the weights of a perceptron 784-300-100-10, by safetensors.")
    images, labels = read_digits(folder / "mnist" if (folder / "mnist").is_dir() else folder)
    sizes = (784, 300, 100, 10)
    model = perceptron(sizes, 0)
    load_weights(model, weights)
    held = torch.from_numpy(images[MNIST_HELD_OUT:] / np.float32(255))
    kept = labels[MNIST_HELD_OUT:].astype(np.int64)
    if not len(kept):
        raise InputError(f"{folder} holds {len(labels)} digits; those up to {MNIST_HELD_OUT} trained the network.")
    origin = f"read from {weights.name}; digits {MNIST_HELD_OUT} to {len(labels) - 1} of the test file are held out"
    return Subject("MNIST, 28 × 28", model, sizes, held, kept, accuracy(model, held, kept), origin)


def load_weights(model: nn.Sequential, file: Path) -> None:
    """Load weights named 0.weight, 2.weight, … into a perceptron of named layers. Raises `FileFormatError`."""
    try:
        found = load_file(file)
        numbered = nn.Sequential(*model)
        numbered.load_state_dict(found)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise FileFormatError(f"{file} does not hold the weights of a perceptron 784-300-100-10: {error}") from error


def accuracy(model: nn.Module, images: Tensor, labels: NDArray[np.int64]) -> float:
    """Return the share of digits that the model names rightly."""
    with torch.no_grad():
        named = model(images.flatten(1)).argmax(1).numpy()
    return float((named == labels).mean())
