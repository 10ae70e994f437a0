"""SqueezeNet 1.1 with torchvision's names, and its input, for the example beside. Source: Iandola et al. 2016."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from provnet.applications.inputs import read_input

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def data_folder() -> Path:
    """Return the folder of data: $PROVNET_DATA, or ../shared/data beside the repository. Leaves politely if missing."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PROVNET_DATA", beside))
    if not folder.is_dir():
        raise SystemExit(f"no data in {folder}: set PROVNET_DATA to the folder of the example data")
    return folder


class Fire(nn.Module):
    """A squeeze of channels, then a 1x1 and a 3x3 convolution side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


def pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class SqueezeNet(nn.Module):
    """1.2 million parameters, 341 million edges an image of 224 × 224."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()),
            *(Fire(64, 16, 64), Fire(128, 16, 64), pool()),
            *(Fire(128, 32, 128), Fire(256, 32, 128), pool()),
            *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


def squeezenet() -> SqueezeNet:
    """Return the network with its ImageNet weights, in evaluation mode."""
    model = SqueezeNet()
    model.load_state_dict(load_file(data_folder() / "squeezenet1_1.safetensors"))
    return model.eval()


def castle() -> Tensor:
    """Return the photograph as the network wants it, [1, 3, 224, 224]."""
    return read_input(data_folder() / "images" / "castle.jpg", size=224, mean=MEAN, std=STD)
