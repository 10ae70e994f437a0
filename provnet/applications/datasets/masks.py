"""Masks: which neurons are relevant to a class, at inputs or hidden layers. Source: [GSM25] section 5.4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from provnet.applications.datasets.sweep import sweep
from provnet.applications.datasets.tally import Tally
from provnet.errors import OptionError
from provnet.semirings.annotations import Threshold


def relevant_share(
    tally: Tally, share: float | str = "all", semiring: str | None = None, at: str | None = None
) -> Tensor:
    """Return a mask for each class, [classes, *neurons]: True where enough of its examples have relevance.

    tally   of a sweep with the fold "frequency", by class.
    share   "all" (the AND over examples), "any" (the OR), or the least share of the class's examples, above 0.
    A class without examples has no mask of its own; its row is False.
    Raises: `OptionError`, `UnknownNameError` where the sweep had no such fold.
    Source: [GSM25] section 5.4, for AND and OR.
    Example: `relevant_share(provnet.sweep(model, data, "boolean", combine="frequency", by="label"), 0.9)`
    """
    least = {"all": 1.0, "any": 0.0}.get(share, -1.0) if isinstance(share, str) else float(share)
    if not 0 <= least <= 1 or (not isinstance(share, str) and least == 0):
        raise OptionError(f"share={share!r}; expected 'all', 'any', or a number above 0 and up to 1.")
    rows = []
    for label in range(tally.classes):
        seen = int(tally.examples[label])
        # Shares are compared as counts: 0.9 of 10 examples is 9 of them.
        wanted = max(1, round(least * seen, 9))
        rows.append(_counts(tally, semiring, at, label) >= (wanted if seen else float("inf")))
    return torch.stack(rows)


def _counts(tally: Tally, semiring: str | None, at: str | None, label: int) -> Tensor:
    examples = int(tally.examples[label])
    if not examples:  # the shape of any other class
        other = int(tally.examples.argmax())
        return torch.zeros_like(tally.of("frequency", semiring, at, other), dtype=torch.int64)
    return (tally.of("frequency", semiring, at, label) * examples).round().to(torch.int64)


def class_masks(
    model: Any, data: Any, share: float | str = "all", at: str | None = None, by: Any = "label", **options: Any
) -> Tensor:
    """Return the masks of all classes in one semiring, Boolean by default: [classes, *neurons].

    by       "label" or "predicted": whose class an example counts for; it is also the target, unless `target=` is
             given.
    options  for `provnet.sweep` and `Circuit.evaluate` (annotation=, rule=, batch_size=, …).
    Raises: as `provnet.sweep`.   Source: [GSM25] section 5.4.
    Example: `class_masks(model, (images, labels), share=0.5, at="1")`
    """
    options = {"semiring": "boolean", "target": by, **options}
    return relevant_share(sweep(model, data, at=at, combine="frequency", by=by, **options), share)


def overlap(masks: Tensor) -> Tensor:
    """Return the agreement of each pair of masks, [n, n]: neurons in both over neurons in either (Jaccard 1901).

    Two empty masks agree: 1.   masks   [n, …], Boolean. Raises: `OptionError`.
    """
    if masks.dtype != torch.bool or masks.dim() < 2:
        raise OptionError(f"masks of dtype {masks.dtype} and shape {list(masks.shape)}; expected Booleans [n, …].")
    rows = masks.flatten(1).double()
    both = rows @ rows.T
    sizes = rows.sum(1)
    either = sizes[:, None] + sizes[None] - both
    return torch.where(either == 0, 1.0, both / either.clamp(min=1))


@dataclass(frozen=True, eq=False)
class ThetaStep:
    """What one threshold makes of the masks of inputs: [classes, *inputs], and the classes whose mask is only where
    their inputs are not zero."""

    theta: float
    masks: Tensor
    only_inputs: list[int]

    @property
    def says_something(self) -> bool:
        """Whether some class has a mask that is neither empty nor only where its inputs are."""
        filled = [label for label, mask in enumerate(self.masks) if bool(mask.any())]
        return bool(set(filled) - set(self.only_inputs))


def theta_scan(
    model: Any, data: tuple[Tensor, Tensor], thetas: Sequence[float], share: float | str = 0.5, **options: Any
) -> list[ThetaStep]:
    """Return the masks of inputs at several thresholds, by one sweep: where do they say more than "input is not zero"?

    data     (examples, labels).   thetas   one or more, for all layers.   share   as of `relevant_share`.
    options  for `provnet.sweep` and `Circuit.evaluate` (rule=, batch_size=, …).
    Raises: `OptionError` for no threshold; as `provnet.sweep`.
    Example: `next(step.theta for step in theta_scan(model, data, [1e-9, 0.01, 0.05]) if step.says_something)`
    """
    if not thetas:
        raise OptionError("thetas=[] scans nothing. Name one or more.")
    asked = [Threshold(theta) for theta in thetas]
    options = {"target": "label", **options}
    tally = sweep(model, data, ["boolean"] * len(asked), combine="frequency", by="label", annotation=asked, **options)
    found = []
    for theta, semiring in zip(thetas, tally.semirings, strict=True):
        masks = relevant_share(tally, share, semiring)
        found.append(ThetaStep(float(theta), masks, only_inputs(masks, *data, share)))
    return found


def only_inputs(masks: Tensor, examples: Tensor, labels: Tensor, share: float | str = "any") -> list[int]:
    """Return the classes whose mask is just where their inputs are not zero, so that it says nothing of the model.

    With a small θ that is what Boolean relevance of inputs comes to: try a larger one, or a hidden layer.
    masks   [classes, *neurons], as `class_masks` gives them with this `share`.   examples   [n, *neurons].
    labels  [n].   Example: `only_inputs(class_masks(model, (x, y), "any"), x, y, "any")`
    """
    found = []
    for label, mask in enumerate(masks):
        inputs = examples[labels == label] != 0
        least = {"all": 1.0, "any": 0.0}.get(share, 0.0) if isinstance(share, str) else share
        if len(inputs) and torch.equal(mask, inputs.sum(0) >= max(1, round(least * len(inputs), 9))):
            found.append(label)
    return found
