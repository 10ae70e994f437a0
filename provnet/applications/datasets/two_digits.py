"""The two-digit study: images of two digits, one above the other, of which only the upper one is the label.

Source: [GSM25] section 5.4, [Gro24] section 3.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from provnet.applications.datasets.masks import relevant_share
from provnet.applications.datasets.tally import Tally
from provnet.errors import InputError


def two_digits(images: Tensor, labels: Tensor, seed: int = 0, lower: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return (pairs [n, …, 2·height, width], the upper digits' labels): below each image stands one drawn at random.

    images   [n, height, width] or [n, channels, height, width].    labels   [n].
    lower    the images that lower digits are drawn from; None: the same. For a test, take those of the test.
    One seed, one dataset; torch's own generator is not touched.
    Raises: `InputError` for images of another shape, no image, or labels of another number.
    Example: `two_digits(torch.rand(10, 28, 28), torch.arange(10))[0].shape == (10, 56, 28)`
    """
    below = images if lower is None else lower
    if images.dim() not in (3, 4) or below.shape[1:] != images.shape[1:] or not len(images) or not len(below):
        raise InputError(
            f"images of shape {list(images.shape)} above images of shape {list(below.shape)}; expected one or more of "
            "each, [n, height, width] or [n, channels, height, width], of one size."
        )
    if labels.shape != (len(images),):
        raise InputError(f"labels of shape {list(labels.shape)} came for {len(images)} images; expected one for each.")
    drawn = torch.randint(len(below), (len(images),), generator=torch.Generator().manual_seed(seed))
    return torch.cat([images, below[drawn.to(below.device)]], dim=-2), labels.clone()


def upper_share(relevance: Tensor) -> float:
    """Return the share of relevance that lies in the upper half of pairs, by absolute value; 0.5 says nothing.

    relevance   [..., 2·height, width] of Booleans or numbers. Without any relevance: 0.5.
    Raises: `InputError` for an odd height.
    """
    if relevance.dim() < 2 or relevance.shape[-2] % 2:
        raise InputError(f"relevance of shape {list(relevance.shape)} has no upper and lower half.")
    size = relevance.double().abs()
    half, total = float(size[..., : size.shape[-2] // 2, :].sum()), float(size.sum())
    return half / total if total else 0.5


def halves_of_masks(tally: Tally, share: float | str, width: int, **question: Any) -> tuple[int, int]:
    """Return how many inputs the masks of all classes together have in the upper and in the lower half.

    tally   of a sweep over pairs with the fold "frequency", by class; inputs may be flattened rows of `width`.
    share   and `question` (semiring=, at=) as of `relevant_share`.
    """
    together = relevant_share(tally, share, **question).any(0).reshape(-1, width)
    half = len(together) // 2
    return int(together[:half].sum()), int(together[half:].sum())
