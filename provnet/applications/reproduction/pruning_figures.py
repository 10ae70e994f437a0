"""Pruning the first layer of the perceptron: [GSM25] Fig. 15, [Gro24] Fig. 3.4."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from provnet.applications.pruning import BASELINES, baseline_scores, pruning_curve, ranking, relevance_scores
from provnet.applications.reproduction.figure_drawing import curves_of
from provnet.applications.reproduction.findings import BEYOND, Chapter, Claim, FigureFile, NumberTable, verdict
from provnet.applications.reproduction.subjects import Digits, StudySizes, notebook_rule, trained_as_in_the_notebook

SEMIRINGS = ("boolean", "counting", "viterbi")
Curves = Mapping[str, list[float]]


def pruning_chapter(model: nn.Module, digits: Digits, sizes: StudySizes, folder: Path) -> Chapter:
    """Rank the first layer's neurons in ten ways, for two networks, and follow what pruning costs."""
    train = digits.ranked(sizes.ranked)
    like_theirs = trained_as_in_the_notebook(digits.train, digits.train_labels, sizes.steps)
    networks = {"the given network": model, "trained as in the notebook": like_theirs}
    found = {name: _curves(one, train, digits.first(sizes.measured), sizes.pruned) for name, one in networks.items()}
    chapter = Chapter(
        "Pruning by relevance ([GSM25] Fig. 15, [Gro24] Fig. 3.4)",
        f"Neurons of the first layer (300) are ranked on {len(train[0]):,} training digits and taken away, the least "
        f"important first; accuracy and loss are of {sizes.measured:,} held-out digits. Weights go and biases stay, as "
        "`prune` does it in the notebook. Two readings of LRP: the text's |mean R| with LRP-0, and the notebook's mean "
        "|R| with its composite, started at the logit. Two networks: the one of the data (trained long), and one "
        "trained for as many steps as the notebook's epoch. Mean activation and gradient × activation are not in the "
        "papers.",
    )
    panels = {}
    for name, curves in found.items():
        panels[f"accuracy, {name}"] = {method: (sizes.pruned, steps[0]) for method, steps in curves.items()}
        panels[f"loss, {name}"] = {method: (sizes.pruned, steps[1]) for method, steps in curves.items()}
    curves_of(panels, folder / "pruning.png", "pruned neurons of 300")
    chapter.pictures.append(FigureFile("pruning.png", "What is left after pruning, for both networks."))
    for name, curves in found.items():
        chapter.tables.append(
            NumberTable(
                f"Mean over the steps up to 285 pruned neurons, {name}",
                ("ranking", "accuracy", "loss", "accuracy at 200", "ties"),
                tuple(
                    (m, f"{_mean(s[0]):.1%}", f"{_mean(s[1]):.3f}", f"{s[0][sizes.pruned.index(200)]:.1%}", str(s[2]))
                    for m, s in sorted(curves.items(), key=lambda item: -_mean(item[1][0]))
                ),
            )
        )
    chapter.claims += _claims({name: {m: s[0] for m, s in curves.items()} for name, curves in found.items()})
    return chapter


def _curves(
    model: nn.Module, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], pruned: tuple[int, ...]
) -> dict[str, tuple]:
    asked = {"target": "label", "batch_size": 256, "progress": False}
    scores = {
        "LRP, text": relevance_scores(model, train, "0", "real", "mean", **asked),
        "LRP, notebook": relevance_scores(
            model, train, "0", "real", "mean_abs", rule=notebook_rule(), start="logit", **asked
        ),
    }
    scores |= zip(SEMIRINGS, relevance_scores(model, train, "0", SEMIRINGS, "mean", **asked), strict=True)
    scores |= {name: baseline_scores(model, train, "0", name) for name in BASELINES}
    found = {}
    for name, one in scores.items():
        order = ranking(one)
        steps = pruning_curve(model, held, "0", order, [count / 300 for count in pruned], bias="keep")
        found[name] = ([step.accuracy for step in steps], [step.loss for step in steps], order.ties)
    return found


def _mean(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).mean())


def _claims(found: Mapping[str, Curves]) -> list[Claim]:
    areas = {name: {method: _mean(values) for method, values in curves.items()} for name, curves in found.items()}
    norms = {name: (one["l1"], one["l2"]) for name, one in areas.items()}
    apart = {name: abs(a - b) for name, (a, b) in norms.items()}
    claims = [
        Claim(
            "[GSM25] 5.5, [Gro24] 3.2",
            "The rankings by ℓ1 and ℓ2 norm perform similarly well",
            f"Their mean accuracies differ by {_each(apart, '.2%')} (below 2 % is similar).",
            verdict(max(apart.values()) < 0.02, min(apart.values()) < 0.02),
        )
    ]
    margins = {
        f"{method}, {name}": one[method] - max(norms[name])
        for name, one in areas.items()
        for method in ("LRP, text", "LRP, notebook", "viterbi")
    }
    better = [margin > 0 for margin in margins.values()]
    claims.append(
        Claim(
            "[GSM25] 5.5, [Gro24] 3.2",
            "Classic LRP and Viterbi LRP outperform the norms by a small amount",
            f"Mean accuracy above the better norm: {_each(margins, '+.2%')}.",
            verdict(all(better), any(better)),
        )
    )
    behind = {
        f"{method}, {name}": max(norms[name]) - one[method]
        for name, one in areas.items()
        for method in ("boolean", "counting")
    }
    worse = [loss > 0.02 for loss in behind.values()]
    claims.append(
        Claim(
            "[GSM25] 5.5, [Gro24] 3.2",
            "Boolean and counting LRP perform much worse than all the other rankings, for lack of granularity",
            f"Mean accuracy below the better norm: {_each(behind, '+.2%')} (above 2 % is much worse).",
            verdict(all(worse), any(worse)),
        )
    )
    cheap = {
        f"{method}, {name}": one[method] - max(one["LRP, text"], one["LRP, notebook"])
        for name, one in areas.items()
        for method in ("activation", "gradient_times_activation")
    }
    claims.append(
        Claim(
            BEYOND,
            "LRP ranks neurons better than mean activation and gradient × activation, which cost a forward "
            "pass more or less",
            f"Mean accuracy above the better LRP: {_each(cheap, '+.2%')} (better: all below -0.5 %).",
            verdict(max(cheap.values()) < -0.005, min(cheap.values()) < -0.005),
        )
    )
    readings = {name: one["LRP, notebook"] - one["LRP, text"] for name, one in areas.items()}
    claims.append(
        Claim(
            "[Gro24] 3.2 and its notebook",
            "Text: neurons with the lowest absolute mean relevance go first. Notebook: lowest mean absolute relevance",
            f"The notebook's reading is better by {_each(readings, '+.2%')} in mean accuracy, so which of them "
            "gives the figure matters; signs of different examples cancel in the text's.",
            "no test",
        )
    )
    return claims


def _each(values: Mapping[str, float], spec: str) -> str:
    return "; ".join(f"{format(value, spec)} ({name})" for name, value in values.items())
