"""Perturbation of digits: zones that are inverted, and attacks on pixels: [Gro24] Figs 3.5 and 3.6."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from provnet.applications.perturbation import attack_ranks, occluded
from provnet.applications.reproduction.figure_drawing import Shown, curves_of, sheet_of
from provnet.applications.reproduction.findings import Chapter, Claim, FigureFile, NumberTable, verdict
from provnet.applications.reproduction.subjects import Digits, StudySizes, notebook_rule
from provnet.face import trace

ZONE = 4
SCALINGS = {"R as it is": (False, 1.0), "R / max |R|": (True, 1.0), "10 R / max |R|": (True, 10.0)}
"""Name -> (whether R is divided by its largest size in each example, the factor η)."""


def zone_chapter(model: nn.Module, digits: Digits, sizes: StudySizes, folder: Path) -> Chapter:
    """Invert each zone of 4 x 4 pixels in turn, and see which zones cost the prediction."""
    x, y = digits.first(sizes.explained)
    wrong, ink, named, corners = _zones(model, x, y, sizes.zone_stride)
    chapter = Chapter(
        "Zones that are inverted ([Gro24] Fig. 3.5)",
        f"Every zone of {ZONE} x {ZONE} pixels of {len(x):,} held-out digits is set to 1 - x, one at a time. Zones lie "
        "within the image; in the notebook those at its upper and left border are empty, as negative indices "
        "make them.",
    )
    side = int(len(corners) ** 0.5)
    kinds = [label for label in range(10) if bool((y == label).any())]
    pictures = []
    for label in kinds:
        pictures.append(Shown(f"{label}", 1 - wrong[:, y == label].double().mean(1).reshape(side, side)))
    sheet_of(pictures, folder / "zones.png", columns=5, side=1.5)
    chapter.pictures.append(
        FigureFile(
            "zones.png", "Accuracy where the zone with that upper left corner is inverted, by class: dark is a drop."
        )
    )
    covered = ink >= 0.5
    near = (ink > 0) & ~covered
    rates = [float(wrong[chosen].double().mean()) for chosen in (covered, near, ink == 0)]
    chapter.tables.append(
        NumberTable(
            "How often the answer becomes wrong, by what the zone covers",
            ("zone", "share of zones", "wrong answers"),
            tuple(
                (name, f"{float(chosen.double().mean()):.0%}", f"{rate:.2%}")
                for name, chosen, rate in zip(
                    ("half or more is ink", "some ink", "no ink"), (covered, near, ink == 0), rates, strict=True
                )
            ),
        )
    )
    chapter.claims.append(
        Claim(
            "[Gro24] 3.3",
            "Perturbation mostly selects zones outside of the object",
            f"A zone that is half ink or more makes {rates[0]:.2%} of answers wrong, one with some ink "
            f"{rates[1]:.2%}, one without ink {rates[2]:.2%}. The claim would need the last to be above the first.",
            verdict(rates[2] > rates[0], max(rates[1], rates[2]) > rates[0]),
        )
    )
    chapter.claims.append(_four(wrong, named, y, corners))
    return chapter


def _zones(model: nn.Module, x: Tensor, y: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (wrong, share of ink in the zone, the class that is named) [zones, n] each, and the corners [zones, 2]."""
    wrong, ink, named = [], [], []
    corners = torch.empty(0)
    with torch.no_grad():
        for images, labels in zip(x.reshape(-1, 1, 28, 28).split(50), y.split(50), strict=True):
            changed, corners = occluded(images, ZONE, stride, change=lambda x: 1 - x)
            answer = model(changed.flatten(0, 1).flatten(1)).argmax(1).reshape(len(corners), -1)
            cover = torch.nn.functional.avg_pool2d((images > 0).float(), ZONE, stride).flatten(1).T
            wrong.append(answer != labels)
            named.append(answer)
            ink.append(cover)
    return torch.cat(wrong, 1), torch.cat(ink, 1), torch.cat(named, 1), corners


def _four(wrong: Tensor, named: Tensor, y: Tensor, corners: Tensor) -> Claim:
    fours = y == 4
    rates = wrong[:, fours].double().mean(1) if bool(fours.any()) else torch.zeros(len(corners))
    worst = int(rates.argmax())
    answers = named[worst, fours & wrong[worst]]
    nines = float((answers == 9).double().mean()) if len(answers) else 0.0
    top, left = corners[worst].tolist()
    return Claim(
        "[Gro24] 3.3",
        "The zone above the 4 matters most, for ink there makes it a 9",
        f"The zone that costs most fours has its corner in row {top}, column {left} of 28; {float(rates[worst]):.1%} "
        f"of fours become wrong there, {nines:.0%} of these are called 9. (Above: in the upper 11 rows, between "
        "columns 7 and 20.)",
        verdict(top < 11 and 7 <= left <= 20 and nines > 0.5, nines > 0.5),
    )


def attack_chapter(model: nn.Module, digits: Digits, sizes: StudySizes, folder: Path) -> Chapter:
    """Invert pixels that are drawn by softmax(-η R), in five relevances and three scalings, and follow the accuracy."""
    x, y = digits.first(sizes.explained)
    names = ("composite LRP", "LRP-0", "Boolean", "counting", "Viterbi")
    rules = [notebook_rule(), "zero", "zero", "zero", "zero"]
    circuit = trace(model, x)
    results = circuit.evaluate(["real", "real", "boolean", "counting", "viterbi"], y.tolist(), rule=rules)
    relevances = {name: result.inputs.double() for name, result in zip(names, results, strict=True)}
    places = torch.linspace(0, x.shape[1], sizes.attack_points).round().int().tolist()
    uniform = _accuracies(model, x, y, None, places, sizes.draws)
    chapter = Chapter(
        "Attacks that spare relevant pixels ([Gro24] Fig. 3.6)",
        f"Pixels of {len(x):,} held-out digits, drawn without replacement by softmax(-η R), are set to 1 - x; "
        f"{sizes.draws} draws. The text has a factor η and says neither how large it is nor how R is scaled, so three "
        "scalings are run.",
    )
    panels, rows, gains, lowest = {}, [], {}, {}
    for scaling, (scaled, factor) in SCALINGS.items():
        lines = {"uniform": (places, [0.0] * len(places))}
        for name, r in relevances.items():
            scores = r / r.abs().amax(1, keepdim=True).clamp(min=1e-300) if scaled else r
            found = _accuracies(model, x, y, factor * scores, places, sizes.draws)
            gain = [a - b for a, b in zip(found, uniform, strict=True)]
            lines[name] = (places, gain)
            gains[scaling, name] = sum(gain) / len(gain)
            lowest[scaling, name] = min(zip(gain, places, strict=True))
        panels[scaling] = lines
        rows.append((scaling, *(f"{gains[scaling, name]:+.2%}" for name in names)))
    curves_of(panels, folder / "attacks.png", "attacked pixels of 784")
    chapter.pictures.append(
        FigureFile("attacks.png", "Accuracy above that of a uniform attack, against the number of attacked pixels.")
    )
    chapter.tables.append(NumberTable("Mean accuracy above the uniform attack", ("scaling", *names), tuple(rows)))
    chapter.claims += _attack_claims(gains, lowest)
    return chapter


def _accuracies(
    model: nn.Module, x: Tensor, y: Tensor, relevance: Tensor | None, places: list[int], draws: int
) -> list[float]:
    """Return the accuracy at each number of attacked pixels, the mean over draws."""
    with torch.no_grad():
        right = [
            [float((model(torch.where(ranks < count, 1 - x, x)).argmax(1) == y).double().mean()) for count in places]
            for ranks in attack_ranks(x, relevance, draws=draws)
        ]
    return torch.tensor(right, dtype=torch.float64).mean(0).tolist()


def _attack_claims(
    gains: dict[tuple[str, str], float], lowest: dict[tuple[str, str], tuple[float, int]]
) -> list[Claim]:
    plain = [key for key in gains if key[1] != "LRP-0"]
    good = [gains[key] > 0.005 and lowest[key][0] > -0.01 for key in plain]
    (least, place), worst = min((lowest[key], key) for key in plain)
    by_scaling = {
        scaling: gains[scaling, "Viterbi"]
        <= min(gains[scaling, name] for name in ("composite LRP", "Boolean", "counting"))
        for scaling in SCALINGS
    }
    return [
        Claim(
            "[Gro24] 3.3",
            "All LRP distributions outperform the uniform baseline",
            f"{sum(good)} of {len(good)} pairs of relevance and scaling do: their mean accuracy is above it by more "
            f"than half a percent, and nowhere below it by one. The lowest is {worst[1]}, {worst[0]}: {least:+.1%} at "
            f"{place} pixels, for sparing the ink means to attack the background first.",
            verdict(all(good), any(good)),
        ),
        Claim(
            "[Gro24] 3.3",
            "Viterbi performs worse than all the other LRP distributions",
            "It is the worst of composite, Boolean, counting and Viterbi with "
            + ", ".join(f"{scaling}: {'yes' if yes else 'no'}" for scaling, yes in by_scaling.items())
            + ". Which is the figure's scaling is not said.",
            verdict(all(by_scaling.values()), any(by_scaling.values())),
        ),
    ]
