"""What each output hands to its edges in the real route: factor · R / z', made piece by piece in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.denormals import Sizes, largest_weight, least_size
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.scratch import take
from provnet.torch_backend.blocks.sums import Denominators
from provnet.torch_backend.blocks.weight_factors import ScaledRows

PIECE = 1 << 17
"""Outputs at a time: they stay in the processor's cache from one step to the next."""

SMALLEST = {torch.float32: 1e-15, torch.float64: 1e-150}
"""Above this, |p / z| stays finite unless |p| is above 3e23 (1e158 in float64)."""


def shares(prepared: Prepared, relevance: Tensor, sizes: Sizes) -> Iterator[tuple[int, Tensor] | None]:
    """Yield (branch's number, factor · R / z' [batch, outputs]) for each branch that relevance came to. What is learnt
    of them on the way is noted in `sizes`.

    A share is 0 where the branch's pool is empty. It is valid until the next one is asked for. None is yielded where
    some d = p / z may leave the floats: it is undefined then, which R / z does not show.
    """
    held = raw(prepared, "z")
    for number, branch in enumerate(prepared.rule.branches):
        if isinstance(held, Denominators):
            if branch.sign and not bool(relevance[held.sign == branch.sign].any()):
                continue  # behind a ReLU, no neuron with z < 0 holds relevance: nobody asks for its denominator
            z = held.unstabilised if prepared.rule.local else None
            raw_sums, z = z is not None, held.branch(number) if z is None else z
        else:
            raw_sums, z = False, prepared.z[number]
        found = _share(prepared, number, z, relevance, raw_sums, sizes)
        yield None if found is None else (number, found)


def _share(
    prepared: Prepared, number: int, z: Tensor, relevance: Tensor, raw_sums: bool, sizes: Sizes
) -> Tensor | None:
    """Return factor · R / z', with z' = stabilise(z) where z holds `raw_sums`."""
    branch = prepared.rule.branches[number]
    share = take(prepared.scratch, relevance.shape, relevance, "share")
    safe = prepared.rule.floor >= SMALLEST[z.dtype] and branch.divided
    flat = share.view(-1), relevance.reshape(-1), z.reshape(-1)
    least = faintest = torch.inf
    looked = number in prepared.extent.divisors
    largest = prepared.extent.divisors.get(number, 0.0)
    for into, r, part in zip(*(tensor.split(PIECE) for tensor in flat), strict=True):
        divisor = prepared.rule.stabilise(part[None])[0] if raw_sums else part
        torch.div(r, divisor, out=into)
        if not safe:
            least = min(least, _least(divisor, into))
        if branch.factor != 1:
            into.mul_(branch.factor)
        largest = largest if looked else max(largest, _largest(divisor))
        sizes.share = max(sizes.share, outer.size(into))
        faintest = min(faintest, least_size(r))
    prepared.extent.divisors[number] = largest
    sizes.z = max(sizes.z, largest)
    held = raw(prepared, "w")
    scale = 1.0 if not isinstance(held, ScaledRows) else min(1.0, least_size(held.scale))
    normal = torch.finfo(z.dtype).tiny
    sizes.faint |= faintest * min(abs(branch.factor), 1.0) * scale < 2 * normal * max(largest, 1.0)
    return None if least < SMALLEST[z.dtype] and _some_overflow(prepared, least) else share


def _largest(z: Tensor) -> float:
    """Return the largest finite |z|."""
    found = outer.size(z)
    return found if found < torch.inf else outer.size(torch.where(torch.isfinite(z), z, 0.0))


def _least(z: Tensor, share: Tensor) -> float:
    """Return the least |z| that is not 0; where z is 0, put 0 into the share: nothing passes an empty pool."""
    size = z.abs()
    least = float(size.min())
    if least > 0:
        return least
    empty = size == 0
    share.masked_fill_(empty, 0)
    return float(size.masked_fill_(empty, torch.inf).min())


def _some_overflow(prepared: Prepared, least: float) -> bool:
    """Return whether p / z may overflow with a denominator as small as `least`: only then are the weights looked at."""
    largest = largest_weight(prepared) * sum(float(a.abs().max()) for a in prepared.a)
    largest = max(largest, 0.0 if prepared.b is None else float(prepared.b.abs().max()))
    return largest >= least * torch.finfo(prepared.a[0].dtype).max


def some_overflow(prepared: Prepared) -> bool:
    """Return whether some d = p / z may leave the floats: it is undefined then, which R / z does not show."""
    for z in prepared.z:
        size = torch.where(z == 0, torch.inf, z.abs())
        least = float(size.min()) if size.numel() else torch.inf
        if least < SMALLEST[z.dtype] and _some_overflow(prepared, least):
            return True
    return False
