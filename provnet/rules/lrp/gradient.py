"""Backpropagation as one more rule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from provnet.circuit.blocks import Block
from provnet.errors import UnsupportedOperationError
from provnet.rules.lrp.base import Rule, register
from provnet.rules.lrp.factors import Branch, Factors, ones


@register("gradient")
@dataclass(frozen=True)
class Gradient(Rule):
    """d_jk = ∂z_k / ∂a_j, at every step: w_jk in affine maps, the derivative on unit edges, 1 at a pooling's winner.

    In Real, relevance is the gradient of the target, and times the input gradient × input; in MaxTimes with Θ = |d| the
    best gradient path; in Expectation the entropy of paths. Source: [Du23] section 3. Nothing is divided: p = d, and
    nothing conserves. Biases have no part.
    """

    name = "gradient"
    branches = (Branch((Factors(ones),), divided=False),)
    uses_bias = False
    units = True
    kinds = ("affine", "selection", "elementwise", "index")

    def at(self, block: Block) -> Rule | None:
        return self

    def check(self, block: Block, rows: Tensor, shape: tuple[int, ...]) -> None:
        if not block.output_is_sum:
            raise UnsupportedOperationError(
                f"block {block.path!r} ({block.op}) is kept whole as 'uniform', which says nothing of its derivative. "
                "Keep it as 'jacobian'."
            )
