"""Bounds of what denormal numbers do to sums of products: the real route's result must be far above them.

The definition sums fl(fl(p / z) R) with p = fl(a w), the route multiplies a by the sum of w (R / z). Both are right to
rounding as long as every factor and product that matters is a normal number. One that is not, or has become 0, is off
by a denormal number at most, and so is what it is multiplied with, times that:

    on the way            off by at most                 because of
    w s                   |a| η                          the route's products
    s = R / z             |a w| η                        the route's shares (only if some are denormal)
    p = a w               |s| η                          the definition's contributions
    p / z                 |R| η                          the definition's coefficients
    w = base · scale      |a s| η, |a base| η            weights that a batch norm was fused into
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.weight_factors import ScaledRows, Structured, weights


@dataclass(eq=False)
class Sizes:
    """What is known of the shares s = R / z of a block: the largest |s| and |z|, and whether some s may be denormal."""

    share: float = 0.0
    z: float = 0.0
    faint: bool = False


def least_size(x: Tensor) -> float:
    """Return the least |x| that is not 0, inf if there is none; x is flat.

    By the bits of floats, which are ordered as their sizes are: with the sign bit set, and one less, 0 becomes the
    largest number. Three cheap passes, where masks take ten times as long.
    """
    if not x.numel():
        return torch.inf
    whole = torch.int32 if x.dtype == torch.float32 else torch.int64
    sign = torch.iinfo(whole).min
    low = torch.bitwise_or(x.view(whole), sign).sub_(1).min().add_(1)
    return float((low ^ sign).view(x.dtype)) if int(low) != sign else torch.inf


def largest_weight(prepared: Prepared) -> float:
    """Return a bound of |g(w)| over the products; of weights in two factors, of base, and of base · scale. Kept."""
    if prepared.extent.weight is not None:
        return prepared.extent.weight
    held = raw(prepared, "w")
    if held is None:
        found = [1.0]
    elif isinstance(held, Structured) and (bound := held.bound()) is not None:
        found = [bound]
    elif isinstance(held, ScaledRows):
        base = outer.size(held.base)
        found = [base, base * outer.size(held.scale)]
    else:
        w = weights(prepared)
        found = [outer.size(product.weights(w)) for product in prepared.rule.products]
    prepared.extent.weight = max(found)
    return prepared.extent.weight


def largest_input(prepared: Prepared) -> float:
    """Return the largest |f(a)| over the products. Kept."""
    if prepared.extent.input is None:
        prepared.extent.input = max(outer.size(a) for a in prepared.a)
    return prepared.extent.input


def largest_bias(prepared: Prepared) -> float:
    """Return the largest |g(b)| over the products, 0 without a bias."""
    return 0.0 if prepared.b is None else max(outer.size(p.biases(prepared.b)) for p in prepared.rule.products)


def least_certain(prepared: Prepared, sizes: Sizes) -> float:
    """Return how large the largest number that a block passes back must be, so that what denormal numbers did to it is
    rounding."""
    a, s = largest_input(prepared), sizes.share
    parts = [1.0, a, s, s * sizes.z]
    if isinstance(raw(prepared, "w"), ScaledRows):
        w = largest_weight(prepared)
        if w * max(a, 1.0) > torch.finfo(prepared.a[0].dtype).max:
            return torch.inf  # the definition's w or p may be infinite, and no coefficient then; the factors are not
        parts += [a * s, a * w]
    if sizes.faint:
        parts += [a * largest_weight(prepared), largest_bias(prepared)]
    return prepared.block.wiring.outputs * torch.finfo(prepared.a[0].dtype).tiny * max(parts)


def certain(
    prepared: Prepared, sizes: Sizes, relevance: Tensor, inputs: Tensor, total: Tensor, bias: Tensor | None
) -> bool:
    """Return whether the relevance of the inputs, [batch, inputs], with its total [batch], and that of the biases,
    [batch], is right to rounding of the largest.

    An example that no relevance came to is; one whose inputs are all 0 is, if its bias's relevance is large enough.
    """
    least = least_certain(prepared, sizes)
    unsure = total.abs() <= least * inputs.shape[1]  # the largest entry is no less than the mean: one pass is spared
    if not bool(unsure.any()):
        return True
    some = unsure.nonzero().squeeze(1)
    some = some[torch.linalg.vector_norm(inputs[some], torch.inf, dim=1) <= least]
    silent = torch.stack([(a[some] == 0).all(1) for a in prepared.a]).all(0)
    if bias is not None and largest_bias(prepared) > 0:
        silent &= bias[some].abs() > least
    return bool((silent | (relevance[some] == 0).all(1)).all())
