"""`reproduce`: the chapters of one reproduction, into a folder that appears whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from provnet.applications.demo.data import MNIST_WEIGHTS
from provnet.applications.inputs import read_input
from provnet.applications.outputs import require_free, staged_folder
from provnet.applications.reproduction.castle_figures import castle_chapter, threshold_chapter
from provnet.applications.reproduction.channel_figures import castle_pruning_chapter, channel_chapter
from provnet.applications.reproduction.digit_figures import digit_chapter
from provnet.applications.reproduction.figure_drawing import require_matplotlib
from provnet.applications.reproduction.findings import Chapter
from provnet.applications.reproduction.image_networks import (
    MEAN,
    SQUEEZENET_WEIGHTS,
    STD,
    VGG16_WEIGHTS,
    squeezenet,
    squeezenet_subject,
    vgg16,
    vgg16_subject,
    vgg16_weights,
)
from provnet.applications.reproduction.mask_figures import mask_chapter, pair_chapter
from provnet.applications.reproduction.perturbation_figures import attack_chapter, zone_chapter
from provnet.applications.reproduction.pruning_figures import pruning_chapter
from provnet.applications.reproduction.reproduction_page import KINDS, RESULTS, part, results_text
from provnet.applications.reproduction.subjects import (
    FULL,
    MNIST_CNN_WEIGHTS,
    QUICK,
    StudySizes,
    data_files,
    given_network,
    given_perceptron,
    read_mnist,
)
from provnet.errors import InputError, UnknownNameError
from provnet.writers.atomic import write_string

CASTLE_PHOTOGRAPH = "images/castle.jpg"
QUICK_PIXELS = 64
"""The side of the photograph in a quick run."""

Step = Callable[[Path], Chapter]


def reproduce(
    kind: str,
    out: str | Path,
    data: str | Path | None = None,
    quick: bool = False,
    force: bool = False,
    on_chapter: Callable[[Chapter], None] | None = None,
) -> list[Chapter]:
    """Reproduce the papers' figures and claims, and write pictures, results.json and page.md into the folder `out`.

    kind        "mnist": the perceptron on digits. "cnn": SqueezeNet (and VGG-16, where its weights are) on a castle,
                and channels of a small network.
    data        the folder of the data; None: $PROVNET_DATA.
    quick       small data and few steps, in seconds: it shows that everything runs, and nothing about the claims.
    force       write into a folder that exists.     on_chapter   is told of each chapter that is done.

    The folder appears when all is done. Minutes on 2 cores; one thread of torch, whose setting is put back.
    Raises: `UnknownNameError`, `InputError`, `FileFormatError`, `MissingProgramError`, `OutputError`.
    Example: `reproduce("mnist", "out/mnist", "shared/data")`
    """
    if kind not in KINDS:
        raise UnknownNameError(f"no reproduction is called {kind!r}. There are {' and '.join(KINDS)}.")
    require_matplotlib()
    target = require_free(out, force, folder=True)
    folder = Path(data or os.environ.get("PROVNET_DATA") or "")
    if not data and "PROVNET_DATA" not in os.environ:
        raise InputError("the folder of the data is not known. Give it with --data, or by $PROVNET_DATA.")
    sizes = QUICK if quick else FULL
    with one_thread():
        steps, said = _mnist(folder, sizes) if kind == "mnist" else _cnn(folder, sizes, quick)
        chapters = []
        with staged_folder(target, force) as draft:
            for step in steps:
                began = time.monotonic()
                chapter = step(draft)
                chapter.seconds = round(time.monotonic() - began, 1)
                chapters.append(chapter)
                if on_chapter is not None:
                    on_chapter(chapter)
            setting = {"data": said, "quick": quick, "machine": f"{os.cpu_count()} cores, one thread of torch"}
            write_string(draft / RESULTS, results_text(kind, chapters, setting))
            write_string(draft / "page.md", part(kind, setting, chapters))
    return chapters


def _mnist(folder: Path, sizes: StudySizes) -> tuple[Sequence[Step], str]:
    data_files(folder, MNIST_WEIGHTS)
    digits, model = read_mnist(folder), given_perceptron(folder)
    steps: list[Step] = [
        lambda path: digit_chapter(model, digits, sizes, path),
        lambda path: mask_chapter(model, digits, sizes, path),
        lambda path: pair_chapter(digits, sizes, path),
        lambda path: pruning_chapter(model, digits, sizes, path),
        lambda path: zone_chapter(model, digits, sizes, path),
        lambda path: attack_chapter(model, digits, sizes, path),
    ]
    right = float((model(digits.held).argmax(1) == digits.held_labels).double().mean())
    return steps, f"The perceptron 784-300-100-10 of the data names {right:.2%} of the held-out digits rightly."


def _cnn(folder: Path, sizes: StudySizes, quick: bool) -> tuple[Sequence[Step], str]:
    data_files(folder, SQUEEZENET_WEIGHTS, MNIST_CNN_WEIGHTS, CASTLE_PHOTOGRAPH)
    digits, small = read_mnist(folder), given_network(folder)
    side = QUICK_PIXELS if quick else 224
    x = read_input(folder / CASTLE_PHOTOGRAPH, size=side, mean=MEAN, std=STD)
    seen = squeezenet_subject(squeezenet(folder))
    steps: list[Step] = [
        lambda path: castle_chapter(seen, x, path),
        lambda path: threshold_chapter(seen, x, path),
        lambda path: channel_chapter(small, digits, sizes, path),
        lambda path: castle_pruning_chapter(seen, x, path),
    ]
    file = vgg16_weights(folder)
    if file is None:
        said = f"VGG-16 was left out: there is no {VGG16_WEIGHTS} with the data, and none of torchvision's."
    else:
        deep = vgg16_subject(vgg16(file))
        steps.append(lambda path: castle_chapter(deep, x, path))
        said = f"VGG-16 has its weights from {file.name}."
    place = "SqueezeNet 1.1 takes the place of VGG-16, of which the claims speak, so a failure may be the network's."
    return steps, f"{place} {said}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread for a while: small networks are slower on several that must wait for others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
