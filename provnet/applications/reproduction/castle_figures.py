"""A photograph of a castle: [GSM25] Figs 7 to 11, with SqueezeNet in place of VGG-16 where the latter is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from provnet.applications.comparison import box, rank_correlation
from provnet.applications.reproduction.figure_drawing import Shown, curves_of, sheet_of
from provnet.applications.reproduction.findings import Chapter, Claim, FigureFile, NumberTable, verdict
from provnet.applications.reproduction.image_networks import CASTLE, MEAN, STD, ImageSubject
from provnet.applications.thresholds import VGG16_BOOLEAN, linear_maps
from provnet.circuit.blocks import Block
from provnet.face import Circuit, Relevance, trace

RUIN = (46, 66, 100, 180)
SIGN = (123, 53, 147, 104)
LIGHT = (0, 57, 30, 93)
"""Boxes (top, left, bottom, right) of the ruin, the street sign and the street light, read off the photograph."""

VGG16_KERNELS = (*(3,) * 13, 7, 1, 1)
"""Kernel sizes of VGG-16's linear maps, the first dense layer counted as a convolution over its 7 × 7 input."""


def castle_chapter(subject: ImageSubject, x: Tensor, folder: Path) -> Chapter:
    """Explain the class castle in four semirings, at the pixels and inside the network.

    x   the photograph, [1, 3, height, width], normalised as for ImageNet.
    """
    circuit = trace(subject.model, x)
    reals = {name: circuit.evaluate("real", CASTLE, rule=rule) for name, rule in subject.real_rules.items()}
    real = next(iter(reals.values()))
    boolean, counting = circuit.evaluate(
        ["boolean", "counting"], CASTLE, rule=subject.rule, annotation=subject.theta(circuit), at=subject.deep
    )
    viterbi = circuit.evaluate("viterbi", CASTLE, rule=subject.rule, at=subject.deep)
    probability = float(circuit.outputs[0].detach().softmax(1)[0, CASTLE])
    chapter = Chapter(
        f"A castle, by {subject.name} ([GSM25] Figs 7 to 11)",
        f"{subject.name} gives the photograph the class castle with probability {probability:.2f}. Channels are added "
        "up, as the authors do it; for Boolean relevance they are joined by ∨ and by ∧.",
    )
    name = subject.name.lower().replace("-", "")
    _draw(x, real, boolean, counting, viterbi, subject.deep, folder / f"{name}.png")
    chapter.pictures.append(
        FigureFile(f"{name}.png", f"The photograph, and relevance for castle; the last two inside, at {subject.deep}.")
    )
    sizes = {
        "real": real.inputs[0].double().clamp(min=0).sum(0),
        "Boolean (∨)": boolean.inputs[0].any(0),
        "counting": counting.inputs[0].double().sum(0),
        "Viterbi": viterbi.inputs[0].double().sum(0),
    }
    ruin = _region(RUIN, x)
    area = float(ruin.double().mean())
    rows = [
        (name, f"{_inside(size, ruin):.0%}", f"{_half(size):.2%}", f"{float((size > 0).double().mean()):.1%}")
        for name, size in sizes.items()
    ]
    columns = ("relevance", "share in the ruin's box", "pixels that hold half of it", "pixels that have any")
    chapter.tables.append(NumberTable(f"At the pixels; the box has {area:.0%} of the area", columns, tuple(rows)))
    chapter.claims += [
        *_signed({name: result.inputs[0].double().sum(0) for name, result in reals.items()}, x),
        _zone(sizes, area, ruin),
        _like_real(sizes, ruin),
        _viterbi_at_pixels(sizes["Viterbi"], area, ruin),
        _viterbi_inside(viterbi, boolean, subject.deep, x),
    ]
    return chapter


def _draw(x: Tensor, real: Relevance, boolean: Relevance, counting: Relevance, viterbi: Relevance, deep: str,
          path: Path) -> None:  # fmt: skip
    photograph = (x[0].permute(1, 2, 0) * torch.tensor(STD) + torch.tensor(MEAN)).clamp(0, 1).numpy()
    inside = [result[deep][0].double().sum(0) for result in (boolean, viterbi)]
    sheet_of(
        [
            Shown("photograph", photograph, "photograph"),
            Shown("real", _blocks(real.inputs[0].double().sum(0)), "signed"),
            Shown("Boolean, ∨ of channels", boolean.inputs[0].any(0), "mask"),
            Shown("Boolean, ∧ of channels", boolean.inputs[0].all(0), "mask"),
            Shown("counting", _blocks(counting.inputs[0].double().sum(0))),
            Shown("Viterbi", _blocks(viterbi.inputs[0].double().sum(0))),
            Shown("Boolean, inside", inside[0]),
            Shown("Viterbi, inside", inside[1]),
        ],
        path,
        columns=4,
        side=2.2,
    )


def _blocks(values: Tensor, side: int = 4) -> Any:
    """Return sums over squares of pixels, for single pixels are hard to see."""
    return torch.nn.functional.avg_pool2d(values[None, None], side)[0, 0].numpy() * side * side


def _region(corners: tuple[int, int, int, int], x: Tensor) -> Tensor:
    """Return a box of the photograph of 224 pixels as a mask of x's size."""
    high, wide = x.shape[2:]
    top, left, bottom, right = (
        round(side * size / 224) for side, size in zip(corners, (high, wide, high, wide), strict=True)
    )
    return box((high, wide), top, left, max(bottom, top + 1), max(right, left + 1))


def _inside(size: Tensor, region: Tensor) -> float:
    size = size.double()
    total = float(size.sum())
    return float(size[region].sum()) / total if total else 0.0


def _half(size: Tensor) -> float:
    """Return the least share of pixels that hold half of the relevance together."""
    ordered = size.double().flatten().sort(descending=True).values.cumsum(0)
    return float((ordered < ordered[-1] / 2).sum() + 1) / len(ordered)


def _signed(reals: Mapping[str, Tensor], x: Tensor) -> list[Claim]:
    ruin = _region(RUIN, x)
    area = float(ruin.double().mean())
    shares = {name: _inside(real.clamp(min=0), ruin) for name, real in reals.items()}
    net = {name: [float(real[_region(corners, x)].sum()) for corners in (SIGN, LIGHT)] for name, real in reals.items()}
    red = [share > 2 * area for share in shares.values()]
    negative = [max(sums) < 0 for sums in net.values()]
    said = "; ".join(f"{name}: sign {sums[0]:+.3f}, light {sums[1]:+.3f}" for name, sums in net.items())
    return [
        Claim(
            "[Gro24] 1.3.3",
            "The castle part of the image is highlighted in red",
            f"The ruin's box has {area:.0%} of the area and, of the positive relevance, "
            f"{', '.join(f'{share:.0%} ({name})' for name, share in shares.items())} (needed: twice its area; "
            "in part from one and a half).",
            verdict(red[0], max(shares.values()) > 1.5 * area),
        ),
        Claim(
            "[Gro24] 1.3.3",
            "The street sign and the street light have strong negative relevance",
            f"Net relevance of their boxes, of the class's 1: {said} (needed: both below 0, with the composite).",
            verdict(negative[0], any(negative) or min(net[next(iter(net))]) < 0),
        ),
    ]


def _zone(sizes: dict[str, Tensor], area: float, ruin: Tensor) -> Claim:
    inside = _inside(sizes["Boolean (∨)"], ruin)
    filled = float(sizes["Boolean (∨)"][ruin].double().mean())
    return Claim(
        "[GSM25] 4, [Gro24] 4.2",
        "Boolean relevance specifies a main zone of importance, and selects all pixels of the object, its middle too",
        f"{inside:.0%} of relevant pixels lie in the ruin's box, which has {area:.0%} of the area; of the "
        f"pixels in the box {filled:.0%} are relevant (needed: more than chance, and half of the box).",
        verdict(inside > 1.2 * area and filled > 0.5, inside > 1.2 * area),
    )


def _like_real(sizes: dict[str, Tensor], ruin: Tensor) -> Claim:
    pooled = {name: torch.from_numpy(_blocks(sizes[name].double(), 8)).reshape(1, -1) for name in ("real", "counting")}
    agreement = float(rank_correlation(pooled["real"], pooled["counting"]).nan_to_num()[0])
    inside = {name: _inside(sizes[name], ruin) for name in ("real", "counting")}
    return Claim(
        "[GSM25] 4, [Gro24] 4.2",
        "Counting is qualitatively similar to classical LRP, and more localised",
        f"Rank correlation over squares of 8 pixels {agreement:.2f} (similar: above 0.5); in the ruin's box "
        f"{inside['counting']:.0%} of counting and {inside['real']:.0%} of positive real relevance.",
        verdict(
            agreement > 0.5 and inside["counting"] > inside["real"],
            agreement > 0.5 or inside["counting"] > inside["real"],
        ),
    )


def _viterbi_at_pixels(size: Tensor, area: float, ruin: Tensor) -> Claim:
    half, inside = _half(size), _inside(size, ruin)
    return Claim(
        "[GSM25] 4, [Gro24] 4.2",
        "Viterbi scales poorly: at the input it concentrates on a very small number of pixels, which are not relevant",
        f"{half:.2%} of pixels hold half of it (very small: below 1 %), and {inside:.0%} of it lies in the "
        f"ruin's box of {area:.0%} (not relevant: no more than the area).",
        verdict(half < 0.01 and inside <= area, half < 0.01 or inside <= area),
    )


def _viterbi_inside(viterbi: Relevance, boolean: Relevance, deep: str, x: Tensor) -> Claim:
    maps = {name: result[deep][0].double().sum(0) for name, result in (("Viterbi", viterbi), ("Boolean", boolean))}
    spread = {name: float((size > 0).double().mean()) for name, size in maps.items()}
    middles = torch.nn.functional.interpolate(_region(RUIN, x).double()[None, None], maps["Viterbi"].shape, mode="area")
    region = middles[0, 0] >= 0.5
    inside = {name: _inside(size, region) for name, size in maps.items()}
    area = float(region.double().mean())
    return Claim(
        "[GSM25] 4, [Gro24] 4.2",
        "Even deep inside, Viterbi relevance is spread over the image, and where the castle is has been lost",
        f"At {deep} {spread['Viterbi']:.0%} of places have Viterbi relevance ({spread['Boolean']:.0%} Boolean). Of it "
        f"{inside['Viterbi']:.0%} lies in the ruin's box, {inside['Boolean']:.0%} of Boolean, of the area {area:.0%} "
        "(lost: no more than 1.2 times the area).",
        verdict(spread["Viterbi"] > 0.5 and inside["Viterbi"] <= 1.2 * area, spread["Viterbi"] > 0.5),
    )


def threshold_chapter(subject: ImageSubject, x: Tensor, folder: Path) -> Chapter:
    """Hold the hand-made thresholds of VGG-16, and the ones that a search found, against the layers' kernel sizes."""
    circuit = trace(subject.model, x)
    theta = subject.theta(circuit)
    maps = linear_maps(circuit)
    ours = [float(theta.at(block.path).theta) for _, block in maps]
    kernels = [_kernel(block, circuit) for _, block in maps]
    chapter = Chapter(
        "Thresholds and kernel sizes ([GSM25] Fig. 11)",
        f"The authors' thresholds of VGG-16, found by hand, and those of {subject.name}, layer by layer from the input "
        "up, beside the size of the layer's kernel.",
    )
    places = list(range(len(VGG16_BOOLEAN)))
    own = list(range(len(ours)))
    curves_of(
        {
            "VGG-16": {"θ, by hand": (places, list(VGG16_BOOLEAN)),
                       "kernel size / 30": (places, [k / 30 for k in VGG16_KERNELS])},
            subject.name: {"θ": (own, ours), "kernel size / 30": (own, [k / 30 for k in kernels])},
        },
        folder / "thresholds.png",
        "linear map, from the input up",
    )  # fmt: skip
    chapter.pictures.append(FigureFile("thresholds.png", "Thresholds beside kernel sizes."))
    found = {}
    for name, thetas, sizes in (("VGG-16", VGG16_BOOLEAN, VGG16_KERNELS), (subject.name, ours, kernels)):
        following = [*sizes[1:], sizes[-1]]
        found[name] = _correlation(thetas, sizes), _correlation(thetas, following)
    said = "; ".join(
        f"{name} {own:+.2f} with its own, {after:+.2f} with the next" for name, (own, after) in found.items()
    )
    best = [max(pair) for pair in found.values()]
    chapter.claims.append(
        Claim(
            "[GSM25] 4.2, [Gro24] 4.3",
            "The variation of the thresholds follows that of the kernel sizes, which suggests a rule to pick them",
            f"Rank correlation of a layer's θ with its own kernel size, and with the next layer's, which the authors' "
            f"code has: {said} (needed: above 0.5 in both networks). All 13 convolutions of VGG-16 have the "
            "kernel size 3, while their θ runs from 0.025 to 0.3: what follows is the step to the dense layers.",
            verdict(min(best) > 0.5, max(best) > 0.5),
        )
    )
    return chapter


def _kernel(block: Block, circuit: Circuit) -> int:
    kernel = getattr(block.wiring, "kernel", None)
    return int(kernel[-1]) if kernel else 1


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    found = rank_correlation(
        torch.tensor([list(one)], dtype=torch.float64), torch.tensor([list(other)], dtype=torch.float64)
    )
    return float(found[0])
