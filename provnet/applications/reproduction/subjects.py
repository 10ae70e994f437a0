"""What is reproduced on: digits, the papers' perceptron, and that perceptron trained as in the authors' notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from provnet.applications.demo.data import MNIST_HELD_OUT, MNIST_WEIGHTS, load_weights
from provnet.applications.demo.train import perceptron
from provnet.applications.idx import read_digits
from provnet.errors import FileFormatError, InputError
from provnet.rules.lrp.base import Rule
from provnet.rules.lrp.composite import Composite
from provnet.rules.lrp.epsilon import Epsilon
from provnet.rules.lrp.gamma import Gamma
from provnet.rules.lrp.z_box import ZBox

MNIST_CNN_WEIGHTS = "mnist_cnn.safetensors"


@dataclass(frozen=True)
class StudySizes:
    """How much is computed. Steps are the notebook's: one optimiser step for each batch of 32."""

    ranked: int
    measured: int
    explained: int
    steps: int
    zone_stride: int
    attack_points: int
    draws: int
    pruned: tuple[int, ...]
    """How many of 300 neurons are pruned. The notebook stops at 97."""


FULL = StudySizes(8000, 2000, 1000, 1875, 1, 15, 2, (0, 25, 50, 75, 100, 150, 200, 225, 250, 270, 285))
QUICK = StudySizes(60, 40, 20, 3, 12, 3, 1, (0, 200))
"""For tests: it says nothing about the claims."""


@dataclass(frozen=True, eq=False)
class Digits:
    """Images [n, 784] with values in [0, 1] and their labels: those a network was trained on, and those held out."""

    train: Tensor
    train_labels: Tensor
    held: Tensor
    held_labels: Tensor

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first held-out digits and their labels."""
        return self.held[:count], self.held_labels[:count]

    def ranked(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first training digits and their labels: what rankings are made from."""
        return self.train[:count], self.train_labels[:count]


def data_files(folder: Path, *names: str) -> None:
    """Raise `InputError` unless the folder holds these files."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}. Give the one of the data with --data, or by $PROVNET_DATA.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} lacks {', '.join(missing)}. Give the folder of the data with --data.")


def read_mnist(folder: Path) -> Digits:
    """Read MNIST's test file from `folder` or its mnist/; the first 8000 digits trained the networks beside it.

    Raises: `InputError`, `FileFormatError`.
    """
    images, labels = read_digits(folder / "mnist" if (folder / "mnist").is_dir() else folder)
    if images.shape[1:] != (28, 28) or len(images) <= MNIST_HELD_OUT or int(labels.max()) > 9:
        raise InputError(
            f"{folder} holds {len(images)} images of {images.shape[1]} x {images.shape[2]} pixels with labels up to "
            f"{int(labels.max())}; expected MNIST's test file, 10,000 digits of 28 x 28 pixels."
        )
    x = torch.from_numpy(images).flatten(1).float() / 255
    y = torch.from_numpy(labels).long()
    cut = MNIST_HELD_OUT
    return Digits(x[:cut], y[:cut], x[cut:], y[cut:])


def given_perceptron(folder: Path) -> nn.Sequential:
    """Return the perceptron 784-300-100-10 of the data, its layers called 0, 2 and 4. Raises `FileFormatError`."""
    model = perceptron((784, 300, 100, 10), 0)
    load_weights(model, folder / MNIST_WEIGHTS)
    return nn.Sequential(*model).eval()


def given_network(folder: Path) -> nn.Sequential:
    """Return the convolutional network of the data, for images [n, 1, 28, 28]. Raises `FileFormatError`."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(784, 10)),
    )
    try:
        model.load_state_dict(load_file(folder / MNIST_CNN_WEIGHTS))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise FileFormatError(f"{folder / MNIST_CNN_WEIGHTS} does not hold that network's weights: {error}") from error
    return model.eval()


def trained_as_in_the_notebook(x: Tensor, labels: Tensor, steps: int, seed: int = 0) -> Any:
    """Return a perceptron inputs-300-100-10 trained as in the notebooks: SGD, rate 0.1, batches of 32.

    steps   theirs are one epoch of 60,000 digits: 1,875. Torch's own generator is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(*perceptron((x.shape[1], 300, 100, 10), seed))
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    with torch.enable_grad():
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if len(order) < 32:
                order = torch.randperm(len(x), generator=generator)
            chosen, order = order[:32], order[32:]
            optimiser.zero_grad()
            F.cross_entropy(model(x[chosen]), labels[chosen]).backward()
            optimiser.step()
    for parameter in model.parameters():
        parameter.grad = None
    return model.eval()


def notebook_rule(low: float = -1.0, high: float = 1.0) -> Rule:
    """Return the composite of the notebooks for the perceptron: z^B at the pixels, γ = 0.1, ε = 0.1 RMS, LRP-0.

    low, high   the box of the pixels. The notebooks take -1 and 1.
    """
    return Composite({"0": ZBox(low, high), "2": Gamma(0.1), "4": Epsilon(1e-9, literal=True, rms=0.1)})
