"""The weights of a block as its products take them: g(w), and w itself as two factors where a batch norm was fused."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.circuit.deferred import Deferred, raw
from provnet.rules.fusion import Scaled
from provnet.rules.lrp.factors import Factors
from provnet.torch_backend.blocks.linear_maps import PIECE, WeightMap, maps_weights
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.scratch import take


class ScaledRows(Deferred):
    """A flat weight base * scale: `base` [rows * fan], `scale` [rows]."""

    def __init__(self, held: Scaled) -> None:
        self.base, self.scale = held.base.reshape(-1), held.scale
        super().__init__(None, self.base, self.scale)
        self._held = held

    def make(self) -> Tensor:
        return self._held.value.reshape(-1)

    def look(self) -> Tensor:
        return self._held.look().reshape(-1)


class Structured(Deferred):
    """Weights that need not be made for sums of products: `transposed` is the transposed map without them."""

    def transposed(self, share: Tensor) -> Tensor:
        """Return the sum over outputs k of share_k w_kj for every input j, [batch, inputs]."""
        raise NotImplementedError

    def applied(self, a: Tensor) -> Tensor | None:
        """Return the sum over inputs j of a_j w_kj for every output k, [batch, outputs]; None: make the weights."""
        return None

    def bound(self) -> float | None:
        """Return a number that no |weight| is above; None: none is known without making them."""
        return None


class CentredRows(Structured):
    """The weights (δ_jk - 1/n) γ_k of rows of n neurons, [rows or 1, k, j] flat, made only for look-ups.

    gamma   [n] or [rows, n]. Memory, when made: n² elements, or rows * n².
    """

    def __init__(self, gamma: Tensor, n: int) -> None:
        super().__init__(None, gamma)
        self.gamma, self.n = gamma, n

    def bound(self) -> float:
        return float(self.gamma.abs().max())

    def make(self) -> Tensor:
        eye = torch.eye(self.n, dtype=self.gamma.dtype, device=self.gamma.device)
        return ((eye - 1 / self.n) * self.gamma.reshape(-1, self.n, 1)).reshape(-1)

    def transposed(self, share: Tensor) -> Tensor:
        flow = share.reshape(len(share), -1, self.n) * self.gamma.reshape(-1, self.n)
        return (flow - flow.mean(-1, keepdim=True)).reshape(len(share), -1)

    def applied(self, a: Tensor) -> Tensor:
        rows = a.reshape(len(a), -1, self.n)
        return ((rows - rows.mean(-1, keepdim=True)) * self.gamma.reshape(-1, self.n)).reshape(len(a), -1)


class SlopeRows(Structured):
    """The weights s_j (δ_ij - s_i) of softmax rows, [batch, rows * n * n] as (row, j, i), made only for look-ups.

    s   [batch, neurons]. n   the length of a row, whose entries lie `behind` apart.
    Memory, when made: batch * rows * n² elements.
    """

    def __init__(self, s: Tensor, n: int, behind: int = 1) -> None:
        super().__init__(None, s)
        self.s = s.reshape(len(s), -1, n, behind)

    def bound(self) -> float:
        return 1.0

    def make(self) -> Tensor:
        s = self.s.transpose(2, 3)
        found = -s[..., :, None] * s[..., None, :]
        found.diagonal(dim1=-2, dim2=-1).add_(s)
        return found.reshape(len(s), -1)

    def transposed(self, share: Tensor) -> Tensor:
        """Return Σ_j share_j s_j (δ_ij - s_i) for every i, [batch, rows * n]: without the weights themselves."""
        flow = share.reshape(self.s.shape) * self.s
        return (flow - self.s * flow.sum(2, keepdim=True)).reshape(len(share), -1)


def factored(prepared: Prepared, product: Factors) -> ScaledRows | None:
    """Return the two factors of a product's weights, None where they are one tensor."""
    held = raw(prepared, "w")
    return held if isinstance(held, ScaledRows) and product.w is None else None


def weights(prepared: Prepared) -> Tensor | None:
    """Return w, flat. What has to be made for it is not kept: fused weights are as large as the net."""
    held = raw(prepared, "w")
    return held.look() if isinstance(held, Deferred) else held


def mapped(prepared: Prepared, product: Factors) -> tuple[Tensor | None, WeightMap]:
    """Return (w, g) such that g(w) are a product's weights, flat: a kernel takes both.

    Those of a convolution are made here, a piece at a time in the cache, in scratch memory: they are valid until the
    next call. Dense layers are too large for that, and their kernel makes g(w) itself.
    """
    held = raw(prepared, "w")
    if maps_weights(prepared.block.wiring) or held is None:
        return weights(prepared), product.w
    like = held.base if isinstance(held, ScaledRows) else weights(prepared)
    assert like is not None
    differentiable = like.requires_grad or (isinstance(held, ScaledRows) and held.scale.requires_grad)
    if (product.w is None and like is held) or differentiable or like.numel() <= PIECE:
        return weights(prepared), product.w
    into = take(prepared.scratch, like.shape, like, "weights")
    if isinstance(held, ScaledRows) and "value" not in vars(held):
        fan = like.numel() // len(held.scale)
        step = max(PIECE // fan, 1)
        rows = zip(like.view(-1, fan).split(step), held.scale[:, None].split(step), strict=True)
        for (base, scale), piece in zip(rows, into.view(-1, fan).split(step), strict=True):
            product.write(torch.mul(base, scale, out=piece), piece)
    else:
        whole = held.value if isinstance(held, Deferred) else held
        for part, piece in zip(whole.split(PIECE), into.split(PIECE), strict=True):
            product.write(part, piece)
    return into, None
