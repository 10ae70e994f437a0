"""Supporting and opposing edges in two channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.annotations.base import Edges, register
from provnet.semirings.annotations.wrapping import Wrapping
from provnet.semirings.base import Semiring
from provnet.semirings.signed import Signed


@dataclass(frozen=True)
class Unsigned:
    """Edges without their signs, so that one normaliser serves both."""

    p: Tensor
    z: Tensor
    d: Tensor
    present: Tensor | None
    defined: Tensor | None


@register("signed")
class SignedParts(Wrapping):
    """(Θ(|d|), 0) for a supporting edge, (0, Θ(|d|)) for an opposing one, d < 0, with |p| and |z| for p and z.

    A normaliser so runs over the inputs of both signs. Over NonNegative, P - N is d. For Signed alone; Θ is the default
    of its base unless given. Source: the two-channel form of LRP's signed shares, Bach15.
    """

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        if not isinstance(semiring, Signed):
            raise OptionError(f"the annotation function {self.name!r} is for Signed(...), not for {semiring!r}.")
        unsigned = Unsigned(edges.p.abs(), edges.z.abs(), edges.d.abs(), edges.present, edges.defined)
        found = self.inside(unsigned, semiring, dtype)
        # Not the sign of d: it is 0 where z is, and a function that uses p goes on there, with sign 0 = +1.
        opposing = (edges.p < 0) != (edges.z < 0).unsqueeze(-1)
        opposing = (opposing & (edges.p != 0))[(...,) + (None,) * len(semiring.base.element_shape)]
        zero = semiring.base.full((), semiring.base.zero, found)
        return semiring.join([torch.where(opposing, zero, found), torch.where(opposing, found, zero)])
