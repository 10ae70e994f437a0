"""Norm and Pass: for the layers between the linear maps."""

from __future__ import annotations

from dataclasses import dataclass

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.rules.lrp.base import Rule, Stabilised, register
from provnet.rules.lrp.factors import Branch, Factors, ones


@register("norm")
@dataclass(frozen=True)
class Norm(Stabilised):
    """d_jk = p_jk / (z_k + ε·sign z_k): proportions, stabilised, for average poolings and sums ([Mon19] sec. 10.3).

    Epsilon by another name, as composites say it. Loses the share ε / z'.
    """

    stabilizer: float = 1e-6
    name = "norm"


@register("pass")
@dataclass(frozen=True)
class Pass(Rule):
    """d = 1: relevance is passed on as it is, and a bias gets nothing. For one-to-one steps: a batch norm that is kept,
    a constant that is added. Activations are passed by every rule but Gradient.

    Conserves. Raises: `OptionError` at a block in which neurons have several inputs.
    """

    name = "pass"
    kinds = ("affine", "elementwise", "index")
    branches = (Branch((Factors(ones, ones),), divided=False),)
    uses_bias = False

    def at(self, block: Block) -> Rule | None:
        return self if block.role == "scale" else None

    def refusal(self, circuit: BlockCircuit, index: int) -> str | None:
        fan = circuit.blocks[index].wiring.fan
        return None if fan == 1 else f"its neurons have {fan} inputs each, and Pass is for one-to-one steps"
