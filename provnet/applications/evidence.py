"""Evidence by intervention: what an answer calls relevant is taken away. Does the prediction follow?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from provnet.applications.perturbation import Change, perturbation_curve, resampled, to_mean, to_zero
from provnet.errors import OptionError
from provnet.face import trace
from provnet.semirings.base import Semiring
from provnet.semirings.lookup import get as get_semiring

CHANGES: Mapping[str, Change] = {"zero": to_zero, "mean": to_mean, "resampled": resampled}
BASELINES = ("random", "gradient_times_input")


@dataclass(frozen=True)
class Evidence:
    """The deletion of inputs in one order, by one change.

    area     the area under the deletion curve: low where the order finds what the prediction rests on.
    better   by how much that is below the area of a random order, in its standard errors over examples. Above 2 or 3
             the order is better than chance on these examples; near 0 nothing speaks for it.
    ties     the mean share of inputs whose relevance another one has too, so that the seed has a say in their places: 1
             for a Boolean order, which is two groups, each in random order.
    """

    name: str
    change: str
    area: float
    better: float
    ties: float


def evidence(
    model: Any,
    x: Tensor,
    semirings: Sequence[str | Semiring] = ("real", "boolean", "counting", "viterbi", "tropical"),
    changes: Mapping[str, Change] = CHANGES,
    steps: int = 10,
    seed: int = 0,
    **options: Any,
) -> list[Evidence]:
    """Return for each semiring, for a random order and for gradient × input, how well it deletes a prediction.

    options   for `Circuit.evaluate` (rule=, annotation=, …); the target is the predicted class.
    Raises: `OptionError` for fewer than two examples, and as `trace` and `evaluate`.
    Example: `print(table(evidence(model, x)))`
    """
    if len(x) < 2:
        raise OptionError("one example has no standard error. Pass two or more.")
    algebras = [get_semiring(one) for one in semirings]
    results = trace(model, x).evaluate(algebras, **options)
    answers: dict[str, tuple[Tensor, bool]] = {}
    for algebra, result in zip(algebras, results, strict=True):
        if isinstance(algebra.zero, Tensor) or algebra.element_shape:
            raise OptionError(f"elements of {algebra.name!r} are no numbers, so they rank nothing. Leave it out.")
        answers[algebra.name] = result.inputs, algebra.zero == float("inf")
    answers["gradient_times_input"] = _gradient_times_input(model, x), False
    chance = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.device)
    answers["random"] = chance, False
    found = []
    for label, change in changes.items():
        areas, ties = {}, {}
        for name, (relevance, costs) in answers.items():
            curve = perturbation_curve(model, x, relevance, change=change, steps=steps, costs=costs, seed=seed)
            places = torch.tensor(curve.steps, dtype=torch.float64) / curve.steps[-1]
            areas[name], ties[name] = torch.trapezoid(curve.probabilities.cpu(), places), curve.ties
        for name, area in areas.items():
            found.append(Evidence(name, label, float(area.mean()), _better(areas["random"] - area), ties[name]))
    return found


def _better(difference: Tensor) -> float:
    """Return a mean in its standard errors, 0 where nothing differs."""
    error = float(difference.std() / len(difference) ** 0.5)
    return float(difference.mean()) / error if error else 0.0


def _gradient_times_input(model: Any, x: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(leaf).max(1).values.sum(), leaf)
    return (slope * x).detach()


def table(rows: Sequence[Evidence]) -> str:
    """Return evidence as text, one line for each answer and change."""
    lines = [f"{'answer':<22}{'change':<11}{'area':>7}{'better':>9}{'ties':>7}"]
    lines += [f"{r.name:<22}{r.change:<11}{r.area:>7.3f}{r.better:>9.1f}{r.ties:>7.0%}" for r in rows]
    return "\n".join(lines)
