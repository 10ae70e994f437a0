"""Two answers beside each other, and answers beside what is known: where relevance lies, and whether rankings agree."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from provnet.applications.perturbation import order_of
from provnet.errors import OptionError


def inside(relevance: Tensor, region: Tensor) -> Tensor:
    """Return each example's share of relevance inside a region, by absolute value: [batch].

    relevance   [batch, …].   region   Boolean, of one example's shape or of all: a mask, or a box by `box`.
    0 where an example has no relevance at all. Raises: `OptionError`.
    Compare with the region's share of the area, which relevance without a place would have.
    """
    rows = relevance.flatten(1).double().abs()
    chosen = _region(relevance, region)
    total = rows.sum(1)
    return torch.where(total == 0, 0.0, (rows * chosen).sum(1) / total.clamp(min=torch.finfo(torch.float64).tiny))


def pointing_game(relevance: Tensor, region: Tensor, costs: bool = False, seed: int = 0) -> Tensor:
    """Return whether each example's most relevant neuron lies inside a region: Boolean [batch]. The seed breaks ties.

    Source: Zhang et al. 2016, Top-down neural attention by excitation backprop.
    """
    order, _ = order_of(relevance, seed, costs)
    return _region(relevance, region).gather(1, order[:, :1])[:, 0]


def box(shape: tuple[int, ...], top: int, left: int, bottom: int, right: int) -> Tensor:
    """Return a region of an image, [*shape]: rows top:bottom and columns left:right of the last two axes.

    Raises: `OptionError` for a box that is empty, or leaves the image, or for a shape without two axes.
    """
    if len(shape) < 2:
        raise OptionError(f"examples of shape {list(shape)} are no images, so a box means nothing. Reshape them.")
    height, width = shape[-2:]
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise OptionError(f"the box {(top, left, bottom, right)} is empty or leaves the image of {height} x {width}.")
    found = torch.zeros(shape, dtype=torch.bool)
    found[..., top:bottom, left:right] = True
    return found


def _region(relevance: Tensor, region: Tensor) -> Tensor:
    if region.dtype != torch.bool or tuple(region.shape) not in (tuple(relevance.shape), tuple(relevance.shape[1:])):
        raise OptionError(
            f"the region is {region.dtype} of shape {list(region.shape)}; expected Booleans of the shape "
            f"{list(relevance.shape[1:])} of one example."
        )
    return region.expand(relevance.shape).flatten(1).to(relevance.device)


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Return Spearman's correlation of two relevances of the same examples, [batch]; ties share their mean rank.

    NaN where one of them is the same everywhere, for then it ranks nothing. Raises: `OptionError`.
    Source: Spearman 1904.
    """
    if one.shape != other.shape:
        raise OptionError(f"relevances of the shapes {list(one.shape)} and {list(other.shape)} rank other neurons.")
    a, b = (ranks(x.flatten(1)) for x in (one, other))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


def ranks(rows: Tensor) -> Tensor:
    """Return the rank of each entry in its row, from 0, ties sharing their mean: [batch, neurons] in float64."""
    below, up_to = [], []
    ordered = rows.sort(1).values.contiguous()
    for values, row in zip(ordered, rows, strict=True):
        below.append(torch.searchsorted(values.double(), row.double()))
        up_to.append(torch.searchsorted(values.double(), row.double(), right=True))
    return (torch.stack(below).double() + torch.stack(up_to).double() - 1) / 2


def agreement(relevances: Mapping[str, Tensor], costs: tuple[str, ...] = ("tropical",)) -> tuple[list[str], Tensor]:
    """Return (names, the matrix [n, n] of mean rank correlations over examples), examples without a rank left out.

    relevances   name -> [batch, …], all of one shape.   costs   the names in which low is relevant.
    Raises: `OptionError`.   Example: `agreement({r.semiring.name: r.inputs for r in circuit.evaluate(names)})`
    """
    names = list(relevances)
    turned = {name: -x.double() if name in costs else x.double() for name, x in relevances.items()}
    rows = [[rank_correlation(turned[a], turned[b]).nanmean() for b in names] for a in names]
    return names, torch.stack([torch.stack(row) for row in rows])


def extreme_examples(relevance: Tensor, count: int = 5) -> tuple[Tensor, Tensor]:
    """Return (most, least): the numbers of the examples with the largest and the smallest sum of |relevance|.

    Raises: `OptionError`.
    """
    if not 0 < count <= len(relevance):
        raise OptionError(f"count={count} of {len(relevance)} examples; expected 1 to {len(relevance)}.")
    order = relevance.flatten(1).double().abs().sum(1).sort(dim=0, stable=True, descending=True).indices
    return order[:count], order.flip(0)[:count]
