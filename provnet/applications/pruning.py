"""Pruning: in which order a layer's neurons may go, and what the model loses. Source: [GSM25] section 5.5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor, nn

from provnet.applications.ablation import Score, masked_copy, score
from provnet.applications.datasets.batches import batches_of
from provnet.applications.datasets.sweep import sweep
from provnet.errors import OptionError, UnknownNameError
from provnet.semirings.base import Semiring

BASELINES = ("l1", "l2", "random", "activation", "gradient_times_activation")


@overload
def relevance_scores(
    model: nn.Module, data: Any, layer: str, semiring: str | Semiring = ..., fold: str = ..., **options: Any
) -> Tensor: ...
@overload
def relevance_scores(
    model: nn.Module, data: Any, layer: str, semiring: Sequence[str | Semiring], fold: str = ..., **options: Any
) -> list[Tensor]: ...
def relevance_scores(
    model: nn.Module,
    data: Any,
    layer: str,
    semiring: str | Semiring | Sequence[str | Semiring] = "real",
    fold: str = "mean_abs",
    **options: Any,
) -> Tensor | list[Tensor]:
    """Return how relevant each output of a layer is over a dataset, [outputs], channels joined over positions by ⊕.

    semiring   name or object; of several, a list of scores, which one sweep finds together.
    fold     "mean_abs", or "mean" for the absolute value of the mean: signs of two examples may cancel there. For costs
             (tropical) "mean_finite": then low is relevant, and scores come back negated, −∞ where nothing is.
    options  for `provnet.sweep` and `Circuit.evaluate` (target=, rule=, annotation=, batch_size=, …).
    Source: [GSM25] section 5.5.   Example: `relevance_scores(model, data, "0", "viterbi")`
    """
    if fold not in ("mean", "mean_abs", "mean_finite"):
        raise OptionError(f"fold={fold!r}; expected 'mean', 'mean_abs' or 'mean_finite'.")
    tally = sweep(model, data, semiring, at=layer, combine=fold, over="positions", **options)
    found = [tally.of(fold, label).double() for label in tally.semirings]
    found = [-one.nan_to_num(nan=float("inf")) if fold == "mean_finite" else one.abs() for one in found]
    return found if isinstance(semiring, list | tuple) else found[0]


def baseline_scores(model: nn.Module, data: Any, layer: str, method: str, seed: int = 0) -> Tensor:
    """Return what other rankings give the outputs of a layer, [outputs].

    method   "l1", "l2": the norm of the incoming weights. "random". "activation": the mean |activation| over the data.
             "gradient_times_activation": the mean of |∂score·a|, for the predicted class.
    Raises: `OptionError`, `UnknownNameError`.
    """
    modules: dict[str, Any] = dict(model.named_modules())
    if layer not in modules:
        raise UnknownNameError(f"the model has no module {layer!r}. It has {', '.join(filter(None, modules))}.")
    if method not in BASELINES:
        raise OptionError(f"method={method!r}; expected one of {', '.join(BASELINES)}.")
    module = modules[layer]
    if method == "random":
        return torch.rand(module.weight.shape[0], generator=torch.Generator().manual_seed(seed))
    if method in ("l1", "l2"):
        return module.weight.detach().flatten(1).norm(p=int(method[1]), dim=1)
    return _mean_at(model, module, data, method == "gradient_times_activation")


def _mean_at(model: nn.Module, module: nn.Module, data: Any, gradient: bool) -> Tensor:
    held: list[Any] = []
    handle = module.register_forward_hook(lambda module, inputs, output: held.append(output))
    total, count = torch.zeros(()), 0
    try:
        for _, (x, _) in batches_of(data, 256, keeps_order=False):
            held.clear()
            with torch.enable_grad():
                best = model(x.clone().requires_grad_()).max(1).values.sum()
                (slope,) = torch.autograd.grad(best, held[0]) if gradient else (torch.ones(()),)
            found = (held[0] * slope).detach().double()
            found = found.flatten(2).sum(2) if found.dim() > 2 else found
            total, count = total + found.abs().sum(0), count + len(x)
    finally:
        handle.remove()
    return total / count


@dataclass(frozen=True, eq=False)
class Ranking:
    """An order of neurons, the least important first. `ties` counts those whose score another one has too: among these
    the seed decided."""

    order: Tensor
    ties: int
    seed: int

    def keep(self, count: int) -> Tensor:
        """Return a mask of the `count` most important ones, [neurons]."""
        if not 0 <= count <= len(self.order):
            raise OptionError(f"{count} neurons of {len(self.order)} cannot be kept.")
        mask = torch.ones(len(self.order), dtype=torch.bool)
        mask[self.order[: len(self.order) - count]] = False
        return mask


def ranking(scores: Tensor, seed: int = 0) -> Ranking:
    """Return neurons by their scores, ascending; equal scores are shuffled by the seed, and reported.

    Raises: `OptionError` for a NaN, or scores that are no row.
    """
    if scores.dim() != 1 or bool(torch.isnan(scores).any()):
        raise OptionError(f"scores of shape {list(scores.shape)}, or with NaN; expected one number for each neuron.")
    shuffled = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed)).to(scores.device)
    order = shuffled[scores[shuffled].sort(stable=True).indices]
    _, counts = scores.unique(return_counts=True)
    return Ranking(order.cpu(), int(counts[counts > 1].sum()), seed)


def pruning_curve(
    model: nn.Module,
    data: Any,
    layer: str,
    order: Ranking,
    fractions: Sequence[float] = (0, 0.25, 0.5, 0.75, 0.9),
    bias: Any = "remove",
    on_step: Callable[[float, Score], None] | None = None,
) -> list[Score]:
    """Return accuracy and loss after the share `f` of a layer's outputs has been pruned, for each of `fractions`.

    data   (examples, labels), which the ranking should not have seen.    bias   as of `ablation.masked_copy`.
    Source: [GSM25] section 5.5.   Example: `pruning_curve(model, held_out, "0", ranking(scores))`
    """
    found = []
    for fraction in fractions:
        if not 0 <= fraction <= 1:
            raise OptionError(f"the fraction {fraction} is not between 0 and 1.")
        kept = order.keep(len(order.order) - round(fraction * len(order.order)))
        found.append(score(masked_copy(model, {layer: kept}, bias), data))
        if on_step is not None:
            on_step(fraction, found[-1])
    return found
