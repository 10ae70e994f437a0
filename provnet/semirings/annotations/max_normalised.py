"""Shares of the largest contribution."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import NonFiniteError
from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring


def sizes(edges: Edges) -> Tensor:
    """Return |p|, 0 on absent edges, [..., slots]."""
    size = edges.p.abs()
    if edges.present is None:
        return size
    return torch.where(edges.present, size, torch.zeros((), dtype=size.dtype, device=size.device))


def largest(edges: Edges, size: Tensor | None = None) -> Tensor:
    """Return max |p| over each neuron's present inputs, the bias included, [...]. `size` if it is made already.

    It takes passes over all slots, and is asked for twice: edges with a `kept` hold it in between.
    Raises: `NonFiniteError` if it is infinite or NaN: shares of it would be NaN, or nothing without a word.
    """
    kept: dict[str, Tensor] = getattr(edges, "kept", {})
    if "largest" not in kept:
        size = sizes(edges) if size is None else size
        found = size.amax(dim=-1) if size.shape[-1] else size.new_zeros(size.shape[:-1])
        if not bool(torch.isfinite(found).all()):
            raise NonFiniteError(
                f"a contribution left the range of {size.dtype}, so that its neuron's inputs have no shares of the "
                "largest. Evaluate with dtype=torch.float64, or scale the weights."
            )
        kept["largest"] = found
    return kept["largest"]


def max_normalised(edges: Edges) -> Tensor:
    """Return |p| / max |p| over each neuron's present inputs, the bias included, [..., slots]; all zero -> zero."""
    size = sizes(edges)
    top = largest(edges, size).unsqueeze(-1)
    return size.div_(torch.where(top > 0, top, torch.ones_like(top)))  # in place: `sizes` gave a fresh tensor


class Shares(Annotation):
    """The base of functions of |p| / max |p|: where every contribution is 0, so is z, and all relevance is lost."""

    uses = "p"

    def lost(self, edges: Edges) -> Tensor | None:
        silent = largest(edges) == 0
        return silent if bool(silent.any()) else None


@register("max-normalised")
class MaxNormalised(Shares):
    """Θ = |p_jk| / max_j' |p_j'k|: conserves in Viterbi and Fuzzy: the largest share is one. Source: GSM25 eq. 12."""

    form = "normalised"
    scalar = "abs(p) / m"

    def masks_absent(self, semiring: Semiring) -> bool:
        return not semiring.element_shape and bool(semiring.zero == 0)  # an absent edge has the share 0

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        return self.floats(max_normalised(edges), dtype, semiring)
