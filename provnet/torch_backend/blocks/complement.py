"""The second of two sums that add up to a known one: a pass over what was recorded in place of one over the weights.

Σ⁺ + Σ⁻ = z: the negative pool is z − Σ⁺, where that is not the small difference of two large numbers. Where it is, the
contributions themselves are summed. So every denominator is right to the rounding of the larger pool times `LOSS`, as
one is that a library sums in another order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.rules.lrp.factors import Terms
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.weight_factors import weights

LOSS = 32
"""How many times smaller than the first sum the second may be, and still be their difference: five bits are lost."""

WORTH = 1 << 22
"""Edges of a block from which on a pass over the weights costs more than a look at the differences."""

FEW = 256, 1 << 20
"""At most one output in so many, and so many edges, are summed one by one: else all are, by the library."""


def applies(plain: Prepared, recorded: Tensor | None) -> bool:
    """Return whether the second branch's sums may be found from the first's and the `recorded` plain sums."""
    block, rule = plain.block, plain.rule
    if recorded is None or not rule.together or len(rule.branches) != 2 or not plain.whole:
        return False
    large = block.wiring.channel_axis is not None and recorded.numel() * block.wiring.fan >= WORTH
    by_example = block.weight_by_example or block.bias_by_example
    return large and not by_example and not any(t.requires_grad for t in (recorded, *plain.a))


def complement(plain: Prepared, recorded: Tensor, first: Tensor) -> Tensor | None:
    """Return the second branch's sums, [batch, outputs]; None if they are the small differences of large numbers too
    often."""
    found = torch.sub(recorded * plain.rule.together, first)
    doubtful = found.abs().mul_(LOSS) < first.abs()
    sign = plain.rule.branches[1].sign
    if sign:
        doubtful &= recorded < 0 if sign < 0 else recorded > 0  # the others do not use this branch
    if bool(torch.isfinite(found.sum())) and not bool(doubtful.any()):
        return found
    some = doubtful.any(0).nonzero().squeeze(1)
    part, edges = FEW
    few = len(some) * part <= found.shape[1] and len(some) * plain.batch * plain.slots <= edges
    if not few or not bool(torch.isfinite(found).all()):
        return None
    found[:, some] = _summed(plain, some)
    return found


def _summed(plain: Prepared, outputs: Tensor) -> Tensor:
    """Return the second branch's sums at some outputs by the definition, [batch, n]."""
    wiring = plain.block.wiring
    index, present, weight = wiring.source(outputs[:, None], torch.arange(wiring.fan, device=plain.device))
    a = tuple(rows[:, index.reshape(-1)].reshape(-1, *index.shape) for rows in plain.a)
    held = weights(plain)
    w = None if held is None else held[weight.reshape(-1)].reshape(1, *weight.shape)
    b = None if plain.b is None else plain.b[wiring.bias(outputs)][None]
    p = plain.rule.numerators(Terms(a, w, b, None, ()))[1]
    if present is not True:
        p[..., : wiring.fan] *= present
    return p.sum(dim=-1)
