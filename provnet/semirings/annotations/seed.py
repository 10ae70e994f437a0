"""What the authors' code gives the inputs of a pooling, in place of a rule and an annotation function."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.base import Semiring

ALIVE = 1e-9


@register("seed")
class Seed(Annotation):
    """For p = a_j and z = n, the size of the window: inputs with a >= 1e-9 get their semiring's share.

    One in Boolean and counting, 1/n in Viterbi, log n in tropical, a/n in real, the semiring's one elsewhere; all other
    inputs get zero. Source: the code of [GSM25]; design section 1 (max pooling, `seed`).
    """

    name = "seed"
    uses = "p"
    form = "general"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        n = edges.z.unsqueeze(-1).expand_as(edges.p)
        alive = edges.p >= ALIVE
        shares = {"viterbi": lambda: 1 / n, "tropical": lambda: n.log(), "real": lambda: edges.p / n}
        if semiring.name in shares:
            share = shares[semiring.name]().to(dtype)
        else:
            share = semiring.full(edges.p.shape, semiring.one, torch.empty((), dtype=dtype, device=edges.p.device))
        zero = semiring.full((), semiring.zero, share)
        return torch.where(alive[(...,) + (None,) * len(semiring.element_shape)], share, zero)
