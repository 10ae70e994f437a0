"""SqueezeNet sees a castle: where does it look? The real heatmap, and Boolean and counting relevance.

Run it: python examples/03_squeezenet_castle.py [FOLDER]      (pictures go to FOLDER, by default out/castle)
Takes half a minute or more: 341 million edges, each decided by its threshold.

One threshold for all layers does not work: at 0.05 nothing is left, for the largest share that a place of the last
13 × 13 average has is 0.018. So each stage has its own, found by castle_search.py: from the top down, the one of a
coarse grid that leaves nearest to a tenth of those of the stage's input neurons that a threshold of 1e-9 would leave.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from squeezenet import castle, squeezenet

import provnet
from provnet.applications.heatmaps import as_image, heatmap, png
from provnet.applications.reproduction.image_networks import CASTLE, MEAN, SQUEEZENET_THETA, STD
from provnet.writers.atomic import write_bytes

BOX = (slice(46, 100), slice(66, 180))
"""Rows and columns of the ruin on the hilltop, towers and curtain wall, read off the photograph."""


def shares(relevant: np.ndarray, box: tuple[slice, slice]) -> tuple[float, float, float]:
    """Return the share of relevance that lies in the box, of the area that does, and of places that are relevant."""
    return float(relevant[box].sum() / relevant.sum()), relevant[box].size / relevant.size, float((relevant > 0).mean())


def within(box: tuple[slice, slice], size: int, image: int = 224) -> tuple[slice, slice]:
    """Return a box of the photograph as a box of a map of size × size places: those whose middle lies inside."""
    middles = (np.arange(size) + 0.5) * image / size
    rows, columns = (np.flatnonzero((side.start <= middles) & (middles < side.stop)) for side in box)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def main(folder: Path) -> None:
    x = castle()
    circuit = provnet.trace(squeezenet(), x)
    print(circuit)

    real = circuit.evaluate("real", target=CASTLE, rule="epsilon")
    theta = provnet.annotations.Threshold(SQUEEZENET_THETA, default=1e-9)  # max pooling's winners pass any threshold
    print("Boolean and counting with a threshold for each stage; this takes a while …", flush=True)
    boolean, counting = circuit.evaluate(["boolean", "counting"], target=CASTLE, annotation=theta, at="features.12")

    folder.mkdir(parents=True, exist_ok=True)
    photograph = (x[0].permute(1, 2, 0) * torch.tensor(STD) + torch.tensor(MEAN)).clamp(0, 1).numpy()
    write_bytes(folder / "photograph.png", png((photograph * 255).round().astype(np.uint8)))
    pixels = {r.semiring.name: as_image(r.semiring, r.inputs, 0) for r in (real, boolean, counting)}
    write_bytes(folder / "boolean.png", png(heatmap(boolean.semiring, pixels["boolean"], 2)))
    for result in (real, counting):  # single pixels are hard to see: ⊕ over squares of 8 × 8, which is a sum in both
        squares = pixels[result.semiring.name].reshape(28, 8, 28, 8).sum((1, 3))
        write_bytes(folder / f"{result.semiring.name}.png", png(heatmap(result.semiring, squares, 16)))
    deep = as_image(boolean.semiring, boolean["features.12"], 0)
    write_bytes(folder / "boolean_features12.png", png(heatmap(boolean.semiring, deep, 32)))

    inside = float(real.inputs[0, :, *BOX].abs().sum() / real.inputs.abs().sum())
    print(f"real, at the input          : {inside:6.1%} of |relevance| in the castle's box")
    channels = boolean["features.12"][0].sum(0).numpy()
    paths = pixels["counting"]
    for where, found in {
        "Boolean, at the input       ": (pixels["boolean"], BOX),
        "Boolean, at features.12     ": (channels, within(BOX, 13)),
        "counting, at the input      ": (paths, BOX),
    }.items():
        share, area, fraction = shares(*found)
        print(f"{where}: {share:6.1%} in the box, {area:.1%} of the area; {fraction:.1%} of the places are relevant")
    print(f"paths to 'castle' over strong edges: {int(paths.sum()):,}; pictures in {folder}/")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/castle"))
