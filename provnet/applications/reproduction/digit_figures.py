"""Relevance of one digit in four semirings: [GSM25] Figs 3 to 6, [Gro24] section 2.2."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from provnet.applications.comparison import rank_correlation
from provnet.applications.reproduction.figure_drawing import Shown, sheet_of
from provnet.applications.reproduction.findings import Chapter, Claim, FigureFile, NumberTable, verdict
from provnet.applications.reproduction.subjects import Digits, StudySizes, notebook_rule
from provnet.face import trace
from provnet.semirings.annotations import Threshold

PAPERS_LARGEST_COUNT = 2098
NAMES = ("LRP-0", "composite LRP", "Boolean", "counting", "Viterbi")


def gini(rows: Tensor) -> Tensor:
    """Return how unequal the sizes of each row are, [n]: 0 for all alike, near 1 if one has all. Source: Gini 1912."""
    sizes = rows.double().abs().sort(dim=1).values
    weights = 2 * torch.arange(1, sizes.shape[1] + 1, dtype=torch.float64) - sizes.shape[1] - 1
    return (sizes @ weights) / (sizes.shape[1] * sizes.sum(1)).clamp(min=torch.finfo(torch.float64).tiny)


def digit_chapter(model: nn.Module, digits: Digits, sizes: StudySizes, folder: Path) -> Chapter:
    """Draw the relevance of the first held-out zero, and measure the claims on the first held-out digits."""
    x, y = digits.first(sizes.explained)
    circuit = trace(model, x)
    results = circuit.evaluate(
        ["real", "real", "boolean", "counting", "viterbi"],
        y.tolist(),
        rule=["zero", notebook_rule(), "zero", "zero", "zero"],
    )
    found: dict[str, Tensor] = dict(zip(NAMES, (result.inputs for result in results), strict=True))
    chapter = Chapter(
        "One digit in four semirings ([GSM25] Figs 3 to 6)",
        "LRP-0, the notebooks' composite (z^B on [-1, 1], γ = 0.1, ε = 0.1 RMS), and Boolean, counting and Viterbi "
        f"relevance for the label. The picture shows one held-out digit, the numbers are of {len(x):,}.",
    )
    _draw(x, y, found, folder / "one-digit.png")
    chapter.pictures.append(
        FigureFile("one-digit.png", "A held-out zero, then its relevance. θ = 1e-9 for Boolean and counting.")
    )
    chapter.tables.append(_contrast(found))
    chapter.claims += [_on_ink(x, found), _boolean(x, found), _largest(y, found), _alike(found), _viterbi(found)]
    paths = circuit.evaluate("counting", annotation=Threshold(float("-inf"))).inputs
    chapter.claims.append(
        Claim(
            "[Gro24] 2.2.1",
            "784·300·100 = 23,520,000 paths lead from one pixel to the output neuron of class 0",
            f"Counting with θ = -∞ gives each pixel {int(paths.min()):,} to {int(paths.max()):,} paths: 300·100. The "
            "printed number counts those of all 784 pixels together.",
            verdict(int(paths.max()) == 23_520_000),
        )
    )
    return chapter


def _draw(x: Tensor, y: Tensor, found: dict[str, Tensor], path: Path) -> None:
    zeros = (y == 0).nonzero().flatten().tolist()
    k = zeros[0] if zeros else 0
    kinds = {"LRP-0": "signed", "composite LRP": "signed", "Boolean": "mask"}
    pictures = [Shown("input", x[k].reshape(28, 28), "ink")]
    pictures += [Shown(name, r[k].reshape(28, 28), kinds.get(name, "strength")) for name, r in found.items()]
    sheet_of(pictures, path, columns=6)


def _contrast(found: dict[str, Tensor]) -> NumberTable:
    rows = []
    for name, r in found.items():
        sizes = r.double().abs()
        tenth = sizes.topk(78, dim=1).values.sum(1) / sizes.sum(1).clamp(min=1e-300)
        rows.append((name, f"{float((r != 0).double().mean()):.0%}", f"{float(gini(r).mean()):.2f}",
                     f"{float(tenth.mean()):.0%}"))  # fmt: skip
    columns = ("relevance", "pixels that have any", "Gini index over pixels", "share of the strongest tenth of pixels")
    return NumberTable("How relevance is spread over the 784 pixels (means over digits)", columns, tuple(rows))


def _on_ink(x: Tensor, found: dict[str, Tensor]) -> Claim:
    ink = x > 0
    shares = {}
    for name in ("LRP-0", "composite LRP"):
        positive = found[name].clamp(min=0).double()
        shares[name] = float((positive * ink).sum() / positive.sum())
    return Claim(
        "[Gro24] 1.3.3",
        "The relevant pixels are the white pixels of the input, as expected",
        f"Of positive relevance, {shares['LRP-0']:.0%} lies on ink under LRP-0, where it cannot lie elsewhere (a = 0), "
        f"and {shares['composite LRP']:.0%} under the notebooks' composite, whose z^B rule gives background pixels "
        "relevance. The claim would need most of both.",
        verdict(min(shares.values()) > 0.8, shares["LRP-0"] > 0.8),
    )


def _boolean(x: Tensor, found: dict[str, Tensor]) -> Claim:
    ink, relevant = x > 0, found["Boolean"].bool()
    negative = found["LRP-0"] < 0
    kept = float(relevant[negative].double().mean())
    same = float((relevant == ink).double().mean())
    return Claim(
        "[Gro24] 2.2.1",
        "θ = 1e-9 filters out null and negative contributions, and leaves enough relevant pixels to look at",
        f"{same:.2%} of pixels are relevant just if they have ink: the answer repeats the input and says nothing of "
        f"the network. Of the pixels whose LRP-0 relevance is negative {kept:.1%} are Boolean-relevant: some path "
        "with positive coefficients is always left. The claim would need most negative pixels to be left out.",
        verdict(kept < 0.5),
    )


def _largest(y: Tensor, found: dict[str, Tensor]) -> Claim:
    zeros = found["counting"][y == 0]
    largest = int(zeros.max()) if len(zeros) else 0
    return Claim(
        "[Gro24] Fig of counting relevance",
        f"The highest counting relevance of the shown 0 is {PAPERS_LARGEST_COUNT}",
        f"Over {len(zeros)} zeros the highest is {largest}; another network, so only the order of magnitude can agree "
        "(between half and twice).",
        verdict(PAPERS_LARGEST_COUNT / 2 <= largest <= 2 * PAPERS_LARGEST_COUNT),
    )


def _alike(found: dict[str, Tensor]) -> Claim:
    counts = found["counting"].double()
    ratios = torch.stack([r[r > 0].quantile(0.9) / r[r > 0].quantile(0.1) for r in counts if bool((r > 0).any())])
    middle = float(ratios.median())
    return Claim(
        "[Gro24] 2.2.2",
        "The numbers of relevant paths are roughly the same for all relevant pixels, so that counting looks "
        "like Boolean",
        f"Within a digit, the ninth decile of relevant pixels' counts is {middle:.2f} times the first (median over "
        "digits; below 2 is roughly the same).",
        verdict(middle < 2),
    )


def _viterbi(found: dict[str, Tensor]) -> Claim:
    inked = found["Boolean"].bool()
    spread = {}
    for name in ("LRP-0", "Viterbi"):
        spread[name] = sum(float(gini(r[m][None])) for r, m in zip(found[name], inked, strict=True)) / len(inked)
    whole = {name: float(gini(found[name]).mean()) for name in ("composite LRP", "Viterbi")}
    same_order = float(rank_correlation(found["LRP-0"].abs(), found["Viterbi"]).nanmean())
    return Claim(
        "[Gro24] 2.2.3",
        "Viterbi relevance emphasises the most important neurons: a more contrasted picture than classical LRP",
        f"Gini index over inked pixels: Viterbi {spread['Viterbi']:.2f}, |LRP-0| {spread['LRP-0']:.2f}. Over all "
        f"pixels: Viterbi {whole['Viterbi']:.2f}, the composite {whole['composite LRP']:.2f}, which spreads over the "
        "background. So it holds beside the composite that the notebooks draw, and not beside LRP-0, which is the "
        f"real semiring itself. (Rank correlation with |LRP-0| {same_order:.2f}, mostly ink against background.)",
        verdict(
            spread["Viterbi"] > spread["LRP-0"] and whole["Viterbi"] > whole["composite LRP"],
            whole["Viterbi"] > whole["composite LRP"],
        ),
    )
