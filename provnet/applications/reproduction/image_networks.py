"""The networks that look at the castle: SqueezeNet 1.1, whose weights are with the data, and VGG-16 where they are."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from provnet.applications.thresholds import VGG16_BOOLEAN, by_depth
from provnet.errors import FileFormatError
from provnet.face import Circuit
from provnet.rules.lrp.base import Rule
from provnet.rules.lrp.composite import Composite
from provnet.rules.lrp.epsilon import Epsilon
from provnet.rules.lrp.gamma import Gamma
from provnet.rules.lrp.stock import IMAGENET_HIGH, IMAGENET_LOW, VGG16
from provnet.rules.lrp.z_box import ZBox
from provnet.semirings.annotations import Threshold

CASTLE = 483
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SQUEEZENET_WEIGHTS = "squeezenet1_1.safetensors"
VGG16_WEIGHTS = "vgg16.safetensors"
VGG16_CACHED = "hub/checkpoints/vgg16-397923af.pth"
"""Where torchvision keeps its weights of VGG-16, under $TORCH_HOME."""

SQUEEZENET_THETA = {
    "classifier.3": 0.013,
    "classifier.1": 0.097,
    "features.12.*": 0.065,
    "features.11.*": 0.15,
    "features.10.*": 0.15,
    "features.9.*": 0.15,
    "features.7.*": 0.15,
    "features.6.*": 0.22,
    "features.4.*": 0.15,
    "features.3.*": 0.22,
    "features.0": 0.33,
}
"""A threshold for each stage, found by `examples/castle_search.py`."""


class Fire(nn.Module):
    """A squeeze of channels, then a 1x1 and a 3x3 convolution side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels of both convolutions, [batch, 2 · expand, height, width]."""
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 with torchvision's names: 1.2 million parameters, 341 million edges an image of 224 × 224.

    divide   divides all numbers of channels, for tests. Source: Iandola et al. 2016.
    """

    def __init__(self, divide: int = 1) -> None:
        super().__init__()
        first, *sizes = (size // divide for size in (64, 16, 64, 32, 128, 48, 192, 64, 256))
        s1, e1, s2, e2, s3, e3, s4, e4 = sizes
        self.features = nn.Sequential(
            *(nn.Conv2d(3, first, 3, stride=2), nn.ReLU(), _pool()),
            *(Fire(first, s1, e1), Fire(2 * e1, s1, e1), _pool()),
            *(Fire(2 * e1, s2, e2), Fire(2 * e2, s2, e2), _pool()),
            *(Fire(2 * e2, s3, e3), Fire(2 * e3, s3, e3), Fire(2 * e3, s4, e4), Fire(2 * e4, s4, e4)),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(2 * e4, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [batch, 1000] of images [batch, 3, height, width]."""
        return self.classifier(self.features(x)).flatten(1)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def squeezenet(folder: Path) -> SqueezeNet:
    """Return SqueezeNet with the ImageNet weights of `folder`, in evaluation mode. Raises: `FileFormatError`."""
    model = SqueezeNet()
    _load(model, folder / SQUEEZENET_WEIGHTS, load_file)
    return model.eval()


class Vgg16(nn.Module):
    """VGG-16 with torchvision's names. divide: divides all widths, for tests. Source: Simonyan and Zisserman 2014."""

    def __init__(self, divide: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for size in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if size:
                layers += [nn.Conv2d(before, size // divide, 3, padding=1), nn.ReLU()]
                before = size // divide
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        wide = 4096 // divide
        self.classifier = nn.Sequential(
            *(nn.Linear(before * 49, wide), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(wide, wide), nn.ReLU(), nn.Dropout()),
            nn.Linear(wide, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [batch, 1000] of images [batch, 3, 224, 224]."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def vgg16_weights(folder: Path) -> Path | None:
    """Return the file of VGG-16's weights: vgg16.safetensors in `folder`, or torchvision's own; None for neither."""
    home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch"))
    return next((file for file in (folder / VGG16_WEIGHTS, home / VGG16_CACHED) if file.is_file()), None)


def vgg16(file: Path, divide: int = 1) -> Vgg16:
    """Return VGG-16 with the weights of `file`, .safetensors or torchvision's .pth. Raises: `FileFormatError`."""
    model = Vgg16(divide)
    # weights_only: the file may hold tensors alone, no code.
    read = load_file if file.suffix == ".safetensors" else lambda name: torch.load(name, weights_only=True)
    _load(model, file, read)
    return model.eval()


def _load(model: nn.Module, file: Path, read: Callable[[Path], Mapping[str, Any]]) -> None:
    try:
        model.load_state_dict(read(file))
    except (SafetensorError, RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise FileFormatError(f"{file} does not hold the weights of {type(model).__name__}: {error}") from error


@dataclass(frozen=True, eq=False)
class ImageSubject:
    """A network with what the chapter on the castle needs to know of it.

    rule, theta   for Boolean and counting; `theta` gets the circuit.
    real_rules    for the real semiring, by name: the papers' composite first.
    deep          the tensor at which relevance is shown inside the network.    pruned   the convolution that is pruned.
    """

    name: str
    model: nn.Module
    rule: Rule | str
    real_rules: Mapping[str, Rule]
    theta: Callable[[Circuit], Threshold]
    deep: str
    pruned: str


def squeezenet_composite() -> Composite:
    """Return the papers' composite for VGG-16 on SqueezeNet's layers: z^B, γ in the lower half, ε with RMS, LRP-0."""
    low: list[tuple[Any, Any]] = [(f"features.{k}.*", Gamma(0.25, stabilizer=1e-9)) for k in (3, 4, 6, 7)]
    high = [(f"features.{k}.*", Epsilon(1e-9, literal=True, rms=0.25)) for k in (9, 10, 11, 12)]
    return Composite([("features.0", ZBox(IMAGENET_LOW, IMAGENET_HIGH)), *low, *high])


def squeezenet_subject(model: nn.Module) -> ImageSubject:
    """Return SqueezeNet as a subject."""
    theta = Threshold(SQUEEZENET_THETA, default=1e-9)
    return ImageSubject(
        "SqueezeNet",
        model,
        "zero",
        {"composite": squeezenet_composite(), "ε": Epsilon()},
        lambda circuit: theta,
        "features.12",
        "features.12.expand3x3",
    )


def vgg16_subject(model: nn.Module) -> ImageSubject:
    """Return VGG-16 as a subject: the papers' rule, their thresholds, and their layer 28."""
    rule = VGG16()
    return ImageSubject(
        "VGG-16",
        model,
        rule,
        {"composite": rule, "ε": Epsilon()},
        lambda circuit: by_depth(circuit, VGG16_BOOLEAN),
        "features.28",
        "features.28",
    )
