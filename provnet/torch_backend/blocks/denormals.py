"""What numbers too small for floats do to sums of products, and how the real route keeps them out of reach.

Relevance enters a block times `lift`, an exact power of two, and leaves it divided by that. R = f(a) · gᵀ(R / z) is
linear, so the digits are the same; but what is rounded coarsely on the way lies that much lower. With η the least float
above 0 and n outputs, each product w · s of a normal share s = lift · R / z is off by η at most, their sum by n η, and
the result by n |a| η / lift: by less than η if n |a| <= lift, so that nothing at all needs to be looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.weight_factors import ScaledRows, Structured, weights

LIFTS = {torch.float32: (2.0**60, 1.0, 2.0**-60), torch.float64: (2.0**480, 1.0, 2.0**-480)}
"""By what relevance is multiplied, one after the other, until nothing overflows and what is rounded does not matter."""


def largest_weight(prepared: Prepared) -> float:
    """Return a bound of |g(w)| over the products; of weights in two factors, of base, and of base · scale. Kept."""
    if prepared.extent.weight is None:
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
    """Return the largest |g(b)| over the products, 0 without a bias. Kept."""
    if prepared.b is None:
        return 0.0
    if prepared.extent.bias is None:
        prepared.extent.bias = max(outer.size(p.biases(prepared.b)) for p in prepared.rule.products)
    return prepared.extent.bias


def quotients_fit(prepared: Prepared, least: float) -> bool:
    """Return whether every p / z is a float where |z| >= `least`: elsewhere it is not defined, which R / z does not
    show. By a bound of |p|, for which the weights are looked at once."""
    products = len(prepared.rule.products) * largest_input(prepared) * largest_weight(prepared)
    return max(products, largest_bias(prepared)) < torch.finfo(prepared.a[0].dtype).max * min(least, 1.0) / 2


def coarseness(prepared: Prepared, number: int, lift: float) -> float:
    """Return by how many of the least floats a branch's lift · factor · R / z may be off; 0: by its rounding."""
    ends = prepared.extent.divisors[number]
    if lift < 1:  # R · lift itself may be denormal
        return max(1.0, 1 / ends.least)
    size = lift * abs(prepared.rule.branches[number].factor)
    return float(ends.most > size * torch.finfo(prepared.a[0].dtype).eps)


def negligible(
    prepared: Prepared, relevance: Tensor, lift: float, coarse: float, inputs: Tensor, bias: Tensor | None
) -> bool:
    """Return whether what was rounded coarsely is within the rounding of the largest number an example passes back.

    relevance     what came, [batch, outputs]; coarse: by how many of the least floats a share may be off
    inputs, bias  what is passed back, still times `lift`, [batch, inputs] and [batch]
    """
    largest = largest_input(prepared)
    if coarse or isinstance(raw(prepared, "w"), ScaledRows):
        coarse = max(coarse, 1.0)
        largest = max(largest * max(largest_weight(prepared) * coarse, 1.0), largest_bias(prepared) * coarse)
    noise = prepared.block.wiring.outputs * max(largest, 1.0)
    if noise <= lift:
        return True
    least = noise * torch.finfo(inputs.dtype).tiny
    sure = (torch.linalg.vector_norm(inputs, torch.inf, dim=1) >= least) | (relevance == 0).all(1)
    silent = torch.stack([(a == 0).all(1) for a in prepared.a]).all(0)
    if bias is not None:
        silent &= (bias.abs() >= least) | (largest_bias(prepared) == 0)
    return bool((sure | silent).all())
