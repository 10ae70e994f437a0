"""Pruning channels of convolutions by relevance: [GSM25] Fig. 16, on the networks that the data have."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from provnet.applications.ablation import ablated, masked_copy, smaller
from provnet.applications.pruning import BASELINES, baseline_scores, pruning_curve, ranking, relevance_scores
from provnet.applications.reproduction.figure_drawing import curves_of
from provnet.applications.reproduction.findings import BEYOND, Chapter, Claim, FigureFile, NumberTable, verdict
from provnet.applications.reproduction.image_networks import CASTLE, ImageSubject
from provnet.applications.reproduction.subjects import Digits, StudySizes

SEMIRINGS = ("real", "boolean", "counting", "viterbi")
FRACTIONS = (0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
LAYER, BATCH_NORM = "4", "5"
"""The second convolution of the digits' network, and its batch norm, where its channels have relevance."""


def channel_chapter(model: nn.Sequential, digits: Digits, sizes: StudySizes, folder: Path) -> Chapter:
    """Prune the 16 channels of a convolution of the digits' network in the order of nine rankings."""
    square = (-1, 1, 28, 28)
    (x, y), (held, labels) = digits.ranked(sizes.ranked // 4), digits.first(sizes.measured)
    train, test = (x.reshape(square), y), (held.reshape(square), labels)
    asked = {"target": "label", "batch_size": 128, "progress": False}
    scores = {name: relevance_scores(model, train, BATCH_NORM, name, **asked) for name in SEMIRINGS}
    scores |= {name: baseline_scores(model, train, LAYER, name) for name in BASELINES}
    orders = {name: ranking(one) for name, one in scores.items()}
    curves = {
        name: [step.accuracy for step in pruning_curve(model, test, LAYER, order, FRACTIONS)]
        for name, order in orders.items()
    }
    chapter = Chapter(
        "Pruning channels of a small convolutional network (in place of [GSM25] Fig. 16)",
        f"VGG-16 needs its weights and ImageNet, so channels are pruned where accuracy can be measured: the second "
        f"convolution (16 channels) of the digits' network, ranked on {len(x):,} training digits, measured on "
        f"{len(held):,} held-out ones. A channel's score is the mean over examples of |⊕ over positions|.",
    )
    places = [16 * fraction for fraction in FRACTIONS]
    curves_of(
        {"accuracy": {name: (places, values) for name, values in curves.items()}},
        folder / "channels.png",
        "pruned channels of 16",
    )
    chapter.pictures.append(FigureFile("channels.png", "Accuracy on held-out digits."))
    means = {name: sum(values) / len(values) for name, values in curves.items()}
    half = FRACTIONS.index(0.5)
    chapter.tables.append(
        NumberTable(
            "Mean accuracy over the steps up to 14 pruned channels",
            ("ranking", "accuracy", "accuracy at 8", "ties"),
            tuple(
                (name, f"{means[name]:.1%}", f"{curves[name][half]:.1%}", str(orders[name].ties))
                for name in sorted(means, key=lambda name: -means[name])
            ),
        )
    )
    norm = max(means["l1"], means["l2"])
    margins = {name: means[name] - norm for name in ("real", "viterbi")}
    chapter.claims.append(
        Claim(
            "[GSM25] 5.5",
            "Classic LRP and Viterbi LRP outperform the norms, for channels of convolutions too",
            f"Mean accuracy above the better norm: {', '.join(f'{n} {v:+.1%}' for n, v in margins.items())}; gradient "
            f"× activation {means['gradient_times_activation'] - norm:+.1%}, random {means['random'] - norm:+.1%}.",
            verdict(min(margins.values()) > 0, max(margins.values()) > 0),
        )
    )
    chapter.claims.append(_removal(model, orders["real"].keep(8), test))
    return chapter


def _removal(model: nn.Sequential, kept: Tensor, test: tuple[Tensor, Tensor]) -> Claim:
    x = test[0][:256]
    with torch.no_grad():
        small = smaller(model, {LAYER: kept})
        with ablated(model, {BATCH_NORM: kept}):
            difference = float((small(x) - model(x)).abs().max())
    before, after = (sum(p.numel() for p in one.parameters()) for one in (model, small))
    return Claim(
        BEYOND,
        "Pruned neurons can be removed for good",
        f"The network rebuilt with 8 of 16 channels has {after:,} of {before:,} parameters, and its logits differ from "
        f"masked evaluation by {difference:.1e} at most.",
        verdict(difference < 1e-3),
    )


def castle_pruning_chapter(subject: ImageSubject, x: Tensor, folder: Path) -> Chapter:
    """Prune channels by the relevance of one photograph, and follow the probability of its class."""
    label = torch.tensor([CASTLE])
    data = (x, label)
    scores = {
        name: relevance_scores(subject.model, data, subject.pruned, name, target="label", progress=False)
        for name in ("real", "viterbi")
    }
    scores |= {name: baseline_scores(subject.model, x, subject.pruned, name) for name in ("l1", "l2", "random")}
    found = {}
    with torch.no_grad():
        for name, one in scores.items():
            order = ranking(one)
            kept = [order.keep(len(one) - round(fraction * len(one))) for fraction in FRACTIONS]
            found[name] = [
                float(masked_copy(subject.model, {subject.pruned: mask})(x).softmax(1)[0, CASTLE]) for mask in kept
            ]
    chapter = Chapter(
        f"Pruning {subject.name} for one photograph (in place of [GSM25] Fig. 16)",
        f"Channels of {subject.pruned} are ranked by the relevance of this one photograph, and the probability "
        "of castle is followed: no dataset, so no accuracy, but what a subnetwork for one answer looks like.",
    )
    places = [100 * fraction for fraction in FRACTIONS]
    curves_of(
        {"probability of castle": {name: (places, values) for name, values in found.items()}},
        folder / "castle-pruning.png",
        "pruned channels, %",
    )
    chapter.pictures.append(FigureFile("castle-pruning.png", "The probability of castle as channels go."))
    middle = FRACTIONS.index(0.5)
    halves = {name: values[middle] for name, values in found.items()}
    norm = max(halves["l1"], halves["l2"])
    chapter.claims.append(
        Claim(
            BEYOND,
            "Relevance finds the channels that an answer needs",
            f"With half of the channels gone the probability of castle, {found['real'][0]:.2f} at first, is "
            f"{', '.join(f'{v:.2f} ({n})' for n, v in halves.items())}. It would need real and Viterbi above "
            "the norms.",
            verdict(min(halves["real"], halves["viterbi"]) > norm, max(halves["real"], halves["viterbi"]) > norm),
        )
    )
    return chapter
