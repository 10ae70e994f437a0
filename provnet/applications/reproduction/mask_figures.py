"""Masks of classes, and the two-digit study: [GSM25] Figs 12 to 14, [Gro24] Figs 3.1 to 3.3."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from provnet.applications.datasets.masks import overlap, relevant_share
from provnet.applications.datasets.sweep import sweep
from provnet.applications.datasets.tally import Tally
from provnet.applications.datasets.two_digits import halves_of_masks, two_digits, upper_share
from provnet.applications.demo.train import perceptron
from provnet.applications.reproduction.figure_drawing import Shown, sheet_of
from provnet.applications.reproduction.findings import Chapter, Claim, FigureFile, NumberTable, verdict
from provnet.applications.reproduction.subjects import Digits, StudySizes, trained_as_in_the_notebook
from provnet.semirings.annotations import Threshold

SHARES = ("all", 0.5, "any")
TITLES = {"all": "AND", 0.5: "half of the examples", "any": "OR"}
HIGHER = 0.05
"""A threshold at which Boolean relevance of these perceptrons is no longer all of the ink."""


def is_ring(mask: Tensor) -> bool:
    """Return whether a mask [height, width] goes round the centre: the pixels outside it that the middle is joined to,
    side by side, do not reach the border."""
    high, wide = mask.shape
    place = (high // 2, wide // 2)
    seen, todo = {place}, [place]
    while todo:
        y, x = todo.pop()
        if mask[y, x]:
            continue
        if y in (0, high - 1) or x in (0, wide - 1):
            return False
        for following in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return not bool(mask[place])


def mask_chapter(model: nn.Module, digits: Digits, sizes: StudySizes, folder: Path) -> Chapter:
    """Draw AND, OR and half masks of class 0 and of all classes, and hold them against an untrained network's."""
    x = torch.cat([digits.ranked(sizes.ranked)[0], digits.first(sizes.measured)[0]])
    y = torch.cat([digits.ranked(sizes.ranked)[1], digits.first(sizes.measured)[1]])
    asked = {"target": "label", "by": "label", "batch_size": 256, "progress": False}
    tally = sweep(model, (x, y), ["boolean", "counting"], combine=["frequency", "min", "mean", "max"], **asked)
    untrained = nn.Sequential(*perceptron((784, 300, 100, 10), 1))
    other = sweep(untrained, (x, y), "boolean", combine="frequency", **asked)
    masks = {share: relevant_share(tally, share, "boolean") for share in SHARES}
    theirs = {share: relevant_share(other, share) for share in SHARES}
    chapter = Chapter(
        "Masks of classes ([GSM25] Fig. 12, [Gro24] Fig. 3.1)",
        f"Boolean relevance at θ = 1e-9 of {len(x):,} digits for their label, joined within a class by ∧, by ∨, and by "
        "the share of examples; below, the least, mean and largest number of paths.",
    )
    pictures = [Shown(f"0: {TITLES[share]}", masks[share][0].reshape(28, 28), "mask") for share in SHARES]
    pictures += [
        Shown(f"0: {fold} count", tally.of(fold, "counting", label=0).reshape(28, 28))
        for fold in ("min", "mean", "max")
    ]
    pictures += [
        Shown(f"all classes: {TITLES[share]}", relevant_share_of_all(tally, share).reshape(28, 28), "mask")
        for share in SHARES
    ]
    sheet_of(pictures, folder / "masks.png", columns=3)
    chapter.pictures.append(FigureFile("masks.png", "Masks of class 0 and of all classes; white is relevant."))
    chapter.tables.append(
        NumberTable(
            "Pixels in the mask of each class, and what an untrained network's masks have in common with it (Jaccard)",
            ("mask", *map(str, range(10)), "untrained network"),
            tuple(
                (
                    TITLES[share],
                    *(str(int(mask.sum())) for mask in masks[share]),
                    f"{_common(masks[share], theirs[share]):.2f}",
                )
                for share in SHARES
            ),
        )
    )
    rings = {TITLES[share]: is_ring(masks[share][0].reshape(28, 28)) for share in SHARES}
    chapter.claims.append(
        Claim(
            "[GSM25] 5.4, [Gro24] 3.1",
            "The AND and OR masks of class 0 delimit its meaningful pixels, which lie in a ring around the centre",
            f"AND has {int(masks['all'][0].sum())} pixels and OR {int(masks['any'][0].sum())} of 784; "
            f"a ring: {_said(rings)}. A ring appears where half of the examples agree, which the papers do not take.",
            verdict(rings["AND"] or rings["OR"], rings["half of the examples"]),
        )
    )
    agreement = _common(masks[0.5], theirs[0.5])
    chapter.claims.append(
        Claim(
            "[GSM25] 5.4, [Gro24] 3.1",
            "Masks contain the features that the network uses to classify images as the class",
            f"The same masks of an untrained network agree with them to {agreement:.3f} (Jaccard, half of the "
            "examples), because at θ = 1e-9 relevance is where the ink is. The claim would need a mask that depends "
            "on the network (below 0.9).",
            verdict(agreement < 0.9),
        )
    )
    return chapter


def relevant_share_of_all(tally: Tally, share: float | str) -> Tensor:
    """Return the mask over the examples of all classes together, in the Boolean semiring: [*neurons]."""
    frequency = tally.of("frequency", "boolean")
    if share == "any":
        return frequency > 0
    return frequency >= (1.0 if share == "all" else float(share))


def pair_chapter(digits: Digits, sizes: StudySizes, folder: Path) -> Chapter:
    """Train a perceptron on pairs of digits, and see which half its relevance lies in."""
    square = (-1, 28, 28)
    train, train_labels = digits.ranked(sizes.ranked)
    held, held_labels = digits.first(sizes.measured)
    x, y = two_digits(train.reshape(square), train_labels, 0)
    test, test_labels = two_digits(held.reshape(square), held_labels, 1)
    x, test = x.flatten(1), test.flatten(1)
    model = trained_as_in_the_notebook(x, y, sizes.steps)
    right = float((model(test).argmax(1) == test_labels).double().mean())
    blank = test.clone()
    blank[:, 784:] = 0
    unmoved = float((model(blank).argmax(1) == model(test).argmax(1)).double().mean())
    data, asked = (test, test_labels), {"target": "label", "by": "label", "batch_size": 256, "progress": False}
    low = sweep(model, data, ["boolean", "real"], combine=["frequency", "mean_abs"], **asked)
    high = sweep(model, data, "boolean", combine="frequency", annotation=Threshold(HIGHER), **asked)
    chapter = Chapter(
        "Two digits, one above the other ([GSM25] Figs 13 and 14, [Gro24] Figs 3.2 and 3.3)",
        f"A perceptron 1568-300-100-10, trained like the papers' one, names the upper digit ({right:.1%} of "
        f"{len(test):,} held-out pairs right; blanking the lower digit leaves {unmoved:.1%} of its answers as they "
        "were). Pairs come from a seeded generator, `provnet.applications.datasets.two_digits`; the notebook draws the "
        "lower digit anew at each access, and of the training digits for its test too.",
    )
    _draw_pairs(test, low, high, folder / "two-digits.png")
    chapter.pictures.append(
        FigureFile(
            "two-digits.png", f"A pair, and masks of all classes: θ = 1e-9, then θ = {HIGHER:g}, then mean |LRP-0|."
        )
    )
    rows = []
    for name, tally in (("θ = 1e-9", low), (f"θ = {HIGHER:g}", high)):
        for share in SHARES:
            above, below = halves_of_masks(tally, share, 28, semiring="boolean")
            rows.append((name, TITLES[share], str(above), str(below)))
    chapter.tables.append(
        NumberTable(
            "Pixels of the masks of all classes together, of 784 a half", ("θ", "mask", "upper", "lower"), tuple(rows)
        )
    )
    shares = [upper_share(tally.of("frequency", "boolean").reshape(56, 28)) for tally in (low, high)]
    real = upper_share(low.of("mean_abs", "real").reshape(56, 28))
    ored, half = halves_of_masks(low, "any", 28, semiring="boolean"), halves_of_masks(high, 0.5, 28, semiring="boolean")
    chapter.claims.append(
        Claim(
            "[GSM25] 5.4, [Gro24] 3.1",
            "The masks show that the model learns to detect the upper digit and discards the lower: the "
            "relevance of the lower part is null",
            f"At θ = 1e-9 {shares[0]:.0%} of Boolean relevance lies in the upper half, which has half of the ink, and "
            f"the OR mask has {ored[0]} pixels above and {ored[1]} below. At θ = {HIGHER:g} it is {shares[1]:.0%}, "
            f"and the mask of half of the examples has {half[0]} above and {half[1]} below; of mean |LRP-0| "
            f"{real:.0%} lies above. So a larger θ or the real semiring find it, and the papers' masks do not. The "
            "claim would need 95 %.",
            verdict(shares[0] > 0.95, max(*shares, real) > 0.7),
        )
    )
    return chapter


def _draw_pairs(test: Tensor, low: Tally, high: Tally, path: Path) -> None:
    pictures = [Shown("a pair", test[0].reshape(56, 28), "ink")]
    for name, tally in (("θ = 1e-9", low), (f"θ = {HIGHER:g}", high)):
        for share in SHARES:
            together = relevant_share(tally, share, "boolean").any(0)
            title = {"all": "AND", 0.5: "half", "any": "OR"}[share]
            pictures.append(Shown(f"{title}, {name}", together.reshape(56, 28), "mask"))
    pictures.append(Shown("mean |LRP-0|", low.of("mean_abs", "real").reshape(56, 28)))
    sheet_of(pictures, path, columns=8, side=1.4)


def _common(one: Tensor, other: Tensor) -> float:
    """Return the mean Jaccard index of two sets of masks, class by class."""
    return sum(float(overlap(torch.stack(pair))[0, 1]) for pair in zip(one, other, strict=True)) / len(one)


def _said(rings: dict[str, bool]) -> str:
    return ", ".join(f"{name} {'yes' if found else 'no'}" for name, found in rings.items())
