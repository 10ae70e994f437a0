"""What each output hands to its edges in the real route: factor · R / z', made piece by piece in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.torch_backend.blocks.denormals import quotients_fit
from provnet.torch_backend.blocks.extent import DivisorRange
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.scratch import take
from provnet.torch_backend.blocks.sums import Denominators

PIECE = 1 << 17
"""Outputs at a time: they stay in the processor's cache from one step to the next."""

SMALLEST = {torch.float32: 1e-15, torch.float64: 1e-150}
"""Above this, |p / z| stays finite unless |p| is above 3e23 (1e158 in float64)."""


def shares(prepared: Prepared, relevance: Tensor, lift: float) -> Iterator[tuple[int, Tensor] | None]:
    """Yield (branch's number, lift · factor · R / z' [batch, outputs]) for each branch that relevance came to.

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
        found = _share(prepared, number, z, relevance, raw_sums, lift)
        yield None if found is None else (number, found)


def _share(prepared: Prepared, number: int, z: Tensor, relevance: Tensor, raw_sums: bool, lift: float) -> Tensor | None:
    """Return lift · factor · R / z', with z' = stabilise(z) where z holds `raw_sums`."""
    factor = prepared.rule.branches[number].factor
    share = take(prepared.scratch, relevance.shape, relevance, "share")
    flat = share.view(-1), relevance.reshape(-1), z.reshape(-1)
    pieces = zip(*(tensor.split(PIECE) for tensor in flat), strict=True) if share.numel() > PIECE else (flat,)
    known = prepared.extent.divisors.get(number)
    ends = DivisorRange() if known is None else known
    for into, r, part in pieces:
        divisor = prepared.rule.stabilise(part[None])[0] if raw_sums else part
        torch.mul(r, lift * factor, out=into).div_(divisor)
        if known is None:
            ends = ends.with_piece(divisor)
        if ends.zero:
            into.masked_fill_(divisor == 0, 0)  # nothing passes an empty pool
    prepared.extent.divisors[number] = ends
    return None if _some_overflow(prepared, ends.least) else share


def _some_overflow(prepared: Prepared, least: float) -> bool:
    """Return whether p / z may overflow with a denominator as small as `least`."""
    return least < SMALLEST[prepared.a[0].dtype] and not quotients_fit(prepared, least)


def some_overflow(prepared: Prepared) -> bool:
    """Return whether some d = p / z may leave the floats."""
    return any(_some_overflow(prepared, DivisorRange().with_piece(z).least) for z in prepared.z)
