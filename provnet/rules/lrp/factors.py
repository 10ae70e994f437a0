"""The parts of a declared rule: products f(a) * g(w), branches, and the coefficients they give.

The maps f and g are one function object each, so that what two products share is made once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from provnet.rules.quotient import quotient

RowMap = Callable[[Tensor, tuple[int, ...]], Tensor]
"""(rows [batch, neurons], the shape of one example) -> rows."""


@dataclass(frozen=True)
class Factors:
    """f(a) * g(w). None is the identity. `a` maps a whole layer's rows [batch, neurons] of the given per-example shape;
    `w` maps weights elementwise, the bias's too; `bias` is what f makes of the bias neuron's activation 1."""

    a: RowMap | None = None
    w: Callable[[Tensor], Tensor] | None = None
    bias: float = 1.0

    def rows(self, a: Tensor, shape: tuple[int, ...], ones: bool) -> Tensor:
        """Return f(a) for a whole layer; where its weights are all one (`ones`), g(1) is multiplied in here."""
        found = a if self.a is None else self.a(a, shape)
        one = 1.0 if self.w is None or not ones else float(self.w(torch.ones((), dtype=a.dtype)))
        return found if one == 1 else found * one

    def weights(self, w: Tensor | None) -> Tensor | None:
        """Return g(w); None stands for weights that are all one, whose g(1) is in the rows."""
        return w if self.w is None or w is None else self.w(w)

    def write(self, w: Tensor, into: Tensor) -> None:
        """Write g(w) to memory of w's shape, which may be w's own. No gradients pass."""
        writer = next((write for g, write in WRITERS if g is self.w), None)
        if writer is not None:
            writer(w, out=into)
        elif self.w is not None or w is not into:
            into.copy_(w if self.w is None else self.w(w))

    def silent(self, rows: Tensor) -> bool:
        """Return whether the product adds nothing anywhere: f(a) is 0, as a⁻ is behind a ReLU. Its derivative may be
        something."""
        if self.bias != 0 or rows.requires_grad:
            return False
        spread = not any(rows.stride())  # one number, shown everywhere
        return not bool((rows[:1, :1] if spread else rows).any())

    def biases(self, b: Tensor) -> Tensor:
        """Return what the product contributes for the biases b."""
        return self.bias * (b if self.w is None else self.w(b))

    def numerator(self, a: Tensor, terms: Terms) -> Tensor:
        """Return fl(f(a) * g(w)) for every slot, the bias's too, as a fresh tensor: [..., slots]."""
        w = self.weights(terms.w)
        if terms.b is None:
            return a.clone() if w is None else a * w
        b = self.biases(terms.b)
        shape = torch.broadcast_shapes(a.shape[:-1], b.shape, () if w is None else w.shape[:-1])
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (a, w, b)):
            shown = (a if w is None else a * w).expand(*shape, a.shape[-1])
            return torch.cat([shown, b.expand(shape).unsqueeze(-1)], -1)
        found = torch.empty((*shape, a.shape[-1] + 1), dtype=a.dtype, device=a.device)
        found[..., -1] = b
        if w is None:
            found[..., :-1] = a
        else:
            torch.mul(a, w, out=found[..., :-1])
        return found


@dataclass(frozen=True)
class Branch:
    """One share of the coefficient: factor * (sum of products) / (its sum over the neuron's inputs).

    sign      +1 or -1: only neurons whose plain sum z = Σ a·w has this sign use the branch. 0: all do.
    divided   False: nothing is divided, the coefficient is the sum of products itself.
    """

    products: tuple[Factors, ...] = (Factors(),)
    factor: float = 1.0
    sign: int = 0
    divided: bool = True


@dataclass(frozen=True, eq=False)
class Terms:
    """The inputs of some neurons; everything broadcasts to [..., slots], where a bias adds one slot, the last.

    a        for each product of the rule, in order, f(a): [..., fan]
    w        weights [..., fan]; None: all are one
    b        the biases [...]; None: there is none, or it is left out
    present  [..., slots]; None: all are
    z        for each branch, the stabilised denominator: [...]; infinite where the neuron does not use the branch
    """

    a: tuple[Tensor, ...]
    w: Tensor | None
    b: Tensor | None
    present: Tensor | None
    z: tuple[Tensor, ...]


class RuleEdges:
    """What Θ is given: p, z, d, present, defined (see `semirings.annotations.base.Edges`). d is made when asked for."""

    def __init__(self, p: Tensor, z: Tensor, present: Tensor | None, defined: Tensor | None = None) -> None:
        self.p, self.z, self.present = p, z, present
        self._defined = defined
        self.kept: dict[str, Tensor] = {}  # what an annotation function made of them and needs again

    @cached_property
    def _quotient(self) -> tuple[Tensor, Tensor | None]:
        d = self.p / self.z.unsqueeze(-1)
        # A sum is finite only if every summand is, and costs one pass where a mask costs three. It may overflow though
        # all summands are finite: then the mask is made and says so.
        if bool(torch.isfinite(d.sum())):
            return d, self._defined
        defined = torch.isfinite(d)
        if d.requires_grad:
            d = quotient(self.p, self.z.unsqueeze(-1))
        else:
            d = torch.where(defined, d, torch.zeros((), dtype=d.dtype, device=d.device))
        return d, defined if self._defined is None else defined & self._defined

    @property
    def d(self) -> Tensor:
        return self._quotient[0]

    @property
    def defined(self) -> Tensor | None:
        return self._quotient[1]


def positive(a: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return a⁺ = max(a, 0). Of a layer without negative neurons, as behind a ReLU, that is the layer itself."""
    return a if shape and _nonnegative(a) else a.clamp(min=0)


def negative(a: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return a⁻ = min(a, 0)."""
    return (
        torch.zeros((), dtype=a.dtype, device=a.device).expand(a.shape) if shape and _nonnegative(a) else a.clamp(max=0)
    )


def _nonnegative(a: Tensor) -> bool:
    """Return whether a whole layer has no negative neuron. Looking costs one pass, where a copy costs fresh memory."""
    return not a.requires_grad and a.numel() > 0 and bool(a.min() >= 0)


def ones(a: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return 1 for every neuron, or every weight."""
    return torch.ones_like(a)


def size(a: Tensor, shape: tuple[int, ...] = ()) -> Tensor:
    """Return |a|."""
    return a.abs()


WRITERS: tuple[tuple[Any, Callable[..., Tensor]], ...] = (
    (positive, partial(torch.clamp, min=0)),
    (negative, partial(torch.clamp, max=0)),
)
"""Maps of weights that can write to given memory: fresh memory costs as much again as what is computed."""
