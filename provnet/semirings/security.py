"""Clearance levels: the least clearance that sees a path."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.base import register
from provnet.semirings.ordered import MinSemiring


@register("security")
class Security(MinSemiring):
    """({0, ..., top}, min, max, top, 0): the lowest level at which some path is seen whole. Level `top` sees nothing.

    0 is public (a strong edge), `top` means never. Carrier: whole numbers from 0 to `top`. Source: Foster, Green,
    Tannen 2008, Annotated XML, section 5 (clearances).
    """

    one = 0
    dtype = torch.int64
    scalar = ("min(x, y)", "max(x, y)")
    absorptive = times_idempotent = True
    annotation = "level"
    question = "Which clearance does it take to see one whole path, if strong edges are public and weak ones secret?"

    def __init__(self, top: int = 4) -> None:
        if top < 1:
            raise OptionError(f"the top level is {top}; it must be at least 1, for 0 and the top to differ.")
        self.top = self.zero = top
        self.bounds = (0.0, float(top))
        self.examples = tuple(range(1, min(top, 8)))

    def star(self, x: Tensor) -> Tensor:
        """Return 0: the empty path is public."""
        return torch.zeros_like(x)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the Goedel implication in the order turned round: 0 where y >= x, else x."""
        return torch.where(y >= x, torch.zeros_like(x), x)

    def __repr__(self) -> str:
        return f"Security({self.top})"
