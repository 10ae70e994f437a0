"""SqueezeNet 1.1 and the photograph, from the folder of the example data, for the examples beside."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from provnet.applications.inputs import read_input
from provnet.applications.reproduction import image_networks
from provnet.applications.reproduction.image_networks import MEAN, STD, SqueezeNet


def data_folder() -> Path:
    """Return the folder of data: $PROVNET_DATA, or ../shared/data beside the repository. Leaves politely if missing."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PROVNET_DATA", beside))
    if not folder.is_dir():
        raise SystemExit(f"no data in {folder}: set PROVNET_DATA to the folder of the example data")
    return folder


def squeezenet() -> SqueezeNet:
    """Return the network with its ImageNet weights, in evaluation mode."""
    return image_networks.squeezenet(data_folder())


def castle() -> Tensor:
    """Return the photograph as the network wants it, [1, 3, 224, 224]."""
    return read_input(data_folder() / "images" / "castle.jpg", size=224, mean=MEAN, std=STD)
