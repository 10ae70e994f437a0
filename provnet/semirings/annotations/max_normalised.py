"""Shares of the largest contribution."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


def sizes(edges: Edges) -> Tensor:
    """Return |p|, 0 on absent edges, [..., slots]."""
    size = edges.p.abs()
    if edges.present is None:
        return size
    return torch.where(edges.present, size, torch.zeros((), dtype=size.dtype, device=size.device))


def max_normalised(edges: Edges) -> Tensor:
    """Return |p| / max |p| over each neuron's present inputs, the bias included, [..., slots]; all zero -> zero."""
    size = sizes(edges)
    if size.shape[-1] == 0:
        return size
    largest = size.amax(dim=-1, keepdim=True)
    return size / torch.where(largest > 0, largest, torch.ones_like(largest))


class Shares(Annotation):
    """The base of functions of |p| / max |p|: where every contribution is 0, so is z, and all relevance is lost."""

    uses = "p"

    def lost(self, edges: Edges) -> Tensor | None:
        silent = ~sizes(edges).any(dim=-1)
        return silent if bool(silent.any()) else None


@register("max-normalised")
class MaxNormalised(Shares):
    """Θ = |p_jk| / max_j' |p_j'k|: conserves in Viterbi and Fuzzy: the largest share is one. Source: GSM25 eq. 12."""

    form = "normalised"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(max_normalised(edges), dtype, semiring)
