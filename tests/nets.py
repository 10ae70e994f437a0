"""Small models and real data, for tests, examples and benchmarks. All models come in evaluation mode."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

# --- data ------------------------------------------------------------------------------------------------------------


def data_folder() -> Path | None:
    """Return the folder of public test data: $PROVNET_DATA, or shared/data beside the repository; None if missing."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("PROVNET_DATA", root.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def digits(folder: Path, first: int = 8000, count: int = 8) -> tuple[Tensor, Tensor]:
    """Return `count` MNIST test images [count, 28, 28], values in [0, 1], and labels; 8000.. were not trained on."""
    with gzip.open(folder / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
    with gzip.open(folder / "mnist" / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read()[8:], np.uint8)
    chosen = slice(first, first + count)
    return torch.tensor(images[chosen] / np.float32(255)), torch.tensor(labels[chosen].astype(np.int64))


# --- trained models --------------------------------------------------------------------------------------------------


def perceptron(*sizes: int) -> nn.Sequential:
    """Return Linear, ReLU, Linear, …, Linear with the given numbers of neurons, inputs first."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layers += [nn.ReLU()] * (i > 0) + [nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers).eval()


def mnist_mlp(folder: Path) -> nn.Sequential:
    """Return the trained perceptron 784-300-100-10, for flattened digits."""
    model = perceptron(784, 300, 100, 10)
    model.load_state_dict(load_file(folder / "mnist_mlp.safetensors"))
    return model


def small_cnn(pixels: int = 28) -> nn.Sequential:
    """Return the network of `mnist_cnn`, untrained, for images [1, pixels, pixels]."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (pixels // 4) ** 2, 10),
    ).eval()


def mnist_cnn(folder: Path) -> nn.Sequential:
    """Return the trained convolutional network, for digits [1, 28, 28]."""
    model = small_cnn()
    model.load_state_dict(load_file(folder / "mnist_cnn.safetensors"))
    return model


def golden_net(golden: dict[str, np.ndarray]) -> nn.Sequential:
    """Return the 3-4-3-2 network of golden_tiny.npz in float64."""
    model = perceptron(3, 4, 3, 2).double()
    parts = {f"{2 * layer}.{kind}": f"{name}{layer}" for layer in range(3) for kind, name in NAMES.items()}
    model.load_state_dict({ours: torch.tensor(golden[theirs]) for ours, theirs in parts.items()})
    return model


NAMES = {"weight": "W", "bias": "b"}


# --- architectures of the literature ---------------------------------------------------------------------------------


class Fire(nn.Module):
    """A squeeze of channels, then the concatenation of a 1x1 and a 3x3 convolution. Source: Iandola et al. 2016."""

    def __init__(self, channels: int, squeeze: int, expand1x1: int, expand3x3: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand1x1, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand3x3, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        narrow = self.expand1x1_activation(self.expand1x1(x))
        return torch.cat([narrow, self.expand3x3_activation(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 with torchvision's names."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(64, 16, 64, 64),
            Fire(128, 16, 64, 64),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(128, 32, 128, 128),
            Fire(256, 32, 128, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(256, 48, 192, 192),
            Fire(384, 48, 192, 192),
            Fire(384, 64, 256, 256),
            Fire(512, 64, 256, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


def squeezenet(folder: Path) -> SqueezeNet:
    """Return SqueezeNet 1.1 with its ImageNet weights, in float32."""
    model = SqueezeNet()
    model.load_state_dict(load_file(folder / "squeezenet1_1.safetensors"))
    return model.eval()


def vgg16(classes: int = 1000, thin: int = 1, pixels: int = 224, seed: int = 0) -> nn.Sequential:
    """Return VGG-16 with random weights (He), its widths divided by `thin`. Source: Simonyan and Zisserman 2015."""
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    features: list[nn.Module] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            features += [nn.Conv2d(channels, width // thin, 3, padding=1), nn.ReLU()]
            channels = width // thin
        features.append(nn.MaxPool2d(2))
    hidden = 4096 // thin
    classifier = nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * (pixels // 32) ** 2, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, classes),
    )
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(*features))
    model.add_module("classifier", classifier)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.uniform_(module.bias, -0.05, 0.05)  # type: ignore[arg-type]  # a bias of these modules is set
    torch.set_rng_state(before)
    return model.eval()


# --- small models that have what a sequential one lacks --------------------------------------------------------------


class Residual(nn.Module):
    """Convolutions, an addition, a concatenation, overlapping max pooling, a dense layer: [2, 6, 6] -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.head = nn.Linear(8 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        y = F.relu(self.norm(self.second(x)) + x)
        return self.head(torch.cat([self.pool(y), self.pool(x)], 1).flatten(1))


class Functional(nn.Module):
    """No module but one linear layer, called twice; the rest are functions and in-place writes: [6] -> 3."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.weight = nn.Parameter(torch.randn(3, 12))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.shared(x))
        z = self.shared(y).clamp(min=0)
        z += y
        return F.linear(torch.cat([z, x], dim=1), self.weight)


class Branching(nn.Module):
    """Control flow that depends on the data, and a view that is written to: [4] -> 2."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :2] = F.relu(x[:, 2:])
        return self.left(y) if float(x.sum()) > 0 else self.right(y)


def seeded(make: Callable[[], nn.Module], seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return an untrained model in evaluation mode with weights from `seed`; batch norms get uneven statistics."""
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    torch.set_rng_state(before)
    return model.to(dtype).eval()
