"""Shares of the largest contribution."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


def max_normalised(edges: Edges) -> Tensor:
    """Return |p| / max |p| over each neuron's present inputs, the bias included, [..., slots]; all zero -> zero."""
    size = edges.p.abs()
    if edges.present is not None:
        size = torch.where(edges.present, size, torch.zeros((), dtype=size.dtype, device=size.device))
    if size.shape[-1] == 0:
        return size
    largest = size.amax(dim=-1, keepdim=True)
    return size / torch.where(largest > 0, largest, torch.ones_like(largest))


@register("max-normalised")
class MaxNormalised(Annotation):
    """Θ = |p_jk| / max_j' |p_j'k|: conserves in Viterbi and Fuzzy: the largest share is one. Source: GSM25 eq. 12."""

    uses = "p"
    form = "normalised"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(max_normalised(edges), dtype, semiring)
