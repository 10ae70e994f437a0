"""The laws of semirings, one function each: it returns two sides that must agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor

from provnet.errors import NonFiniteError
from provnet.semirings.base import Semiring

Sides = tuple[Tensor, Tensor]
SidesOf = Callable[..., Sides]


class JudgedAlgebra:
    """A semiring with the equality by which its laws are judged: to the last bit, or relative to `scale`."""

    def __init__(self, semiring: Semiring, samples: Tensor, tolerance: float) -> None:
        self.semiring, self.samples, self.tolerance = semiring, samples, tolerance
        self.plus, self.times = semiring.plus, semiring.times
        finite = samples.abs()[samples.isfinite()] if samples.dtype.is_floating_point else samples.new_zeros(0)
        self.scale = float(finite.max()) if finite.numel() else 1.0

    def zero(self, like: Tensor) -> Tensor:
        """Return as many zeros as `like` has elements."""
        return self.semiring.full(like.shape[:1], self.semiring.zero, like)

    def one(self, like: Tensor) -> Tensor:
        """Return as many ones as `like` has elements."""
        return self.semiring.full(like.shape[:1], self.semiring.one, like)

    def same(self, x: Tensor, y: Tensor) -> Tensor:
        """Return where elements agree, [n]. Equal infinities agree; a NaN agrees with nothing."""
        agree = x == y
        if self.tolerance and x.dtype.is_floating_point:
            size = torch.maximum(x.abs(), y.abs()).clamp(min=self.scale)
            agree = agree | (size.isfinite() & ((x - y).abs() <= self.tolerance * size))
        return agree.flatten(1).all(1) if agree.dim() > 1 else agree

    def below(self, x: Tensor, y: Tensor) -> Tensor:
        """Return where x <= y in the natural order of an idempotent plus, [n]."""
        return self.same(self.plus(x, y), y)


def choose(where: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return x where `where` [n], else y, element by element."""
    return torch.where(where.reshape(-1, *(1,) * (x.dim() - 1)), x, y)


@dataclass(frozen=True)
class Law:
    """One law: `sides(algebra, x, ...)`, with `arity` elements, gives what must be equal.

    flag     the attribute that makes it binding. method: the optional operation it is about. Neither: it always binds.
    """

    name: str
    statement: str
    sides: SidesOf
    flag: str = ""
    method: str = ""

    @property
    def arity(self) -> int:
        return len(signature(self.sides).parameters) - 1


_LAWS: list[Law] = []


def _law(name: str, statement: str, flag: str = "", method: str = "") -> Callable[[SidesOf], SidesOf]:
    def file(sides: SidesOf) -> SidesOf:
        _LAWS.append(Law(name, statement, sides, flag, method))
        return sides

    return file


def binding(semiring: Semiring) -> tuple[Law, ...]:
    """Return the laws that `semiring` promises: the axioms, those of its flags, those of the operations it offers."""
    return tuple(
        law
        for law in _LAWS
        if (not law.flag or getattr(semiring, law.flag)) and (not law.method or semiring.offers(law.method))
    )


# --- the axioms ------------------------------------------------------------------------------------------------------


@_law("the identity of ⊕", "0 ⊕ x = x")
def _plus_identity(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.plus(a.zero(x), x), x


@_law("the left identity of ⊗", "1 ⊗ x = x")
def _times_left_identity(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.times(a.one(x), x), x


@_law("the right identity of ⊗", "x ⊗ 1 = x")
def _times_right_identity(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.times(x, a.one(x)), x


@_law("left annihilation", "0 ⊗ x = 0")
def _left_annihilation(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.times(a.zero(x), x), a.zero(x)


@_law("right annihilation", "x ⊗ 0 = 0")
def _right_annihilation(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.times(x, a.zero(x)), a.zero(x)


@_law("commutativity of ⊕", "x ⊕ y = y ⊕ x")
def _plus_commutes(a: JudgedAlgebra, x: Tensor, y: Tensor) -> Sides:
    return a.plus(x, y), a.plus(y, x)


@_law("associativity of ⊕", "(x ⊕ y) ⊕ z = x ⊕ (y ⊕ z)")
def _plus_associates(a: JudgedAlgebra, x: Tensor, y: Tensor, z: Tensor) -> Sides:
    return a.plus(a.plus(x, y), z), a.plus(x, a.plus(y, z))


@_law("associativity of ⊗", "(x ⊗ y) ⊗ z = x ⊗ (y ⊗ z)")
def _times_associates(a: JudgedAlgebra, x: Tensor, y: Tensor, z: Tensor) -> Sides:
    return a.times(a.times(x, y), z), a.times(x, a.times(y, z))


@_law("left distributivity", "x ⊗ (y ⊕ z) = x ⊗ y ⊕ x ⊗ z")
def _left_distributivity(a: JudgedAlgebra, x: Tensor, y: Tensor, z: Tensor) -> Sides:
    return a.times(x, a.plus(y, z)), a.plus(a.times(x, y), a.times(x, z))


@_law("right distributivity", "(y ⊕ z) ⊗ x = y ⊗ x ⊕ z ⊗ x")
def _right_distributivity(a: JudgedAlgebra, x: Tensor, y: Tensor, z: Tensor) -> Sides:
    return a.times(a.plus(y, z), x), a.plus(a.times(y, x), a.times(z, x))


@_law("the sum as a fold", "sum(x, y, 0, z, x) = x ⊕ y ⊕ 0 ⊕ z ⊕ x")
def _sum_folds(a: JudgedAlgebra, x: Tensor, y: Tensor, z: Tensor) -> Sides:
    terms = torch.stack([x, y, a.zero(x), z, x], dim=1)
    return a.semiring.sum(terms, 1), Semiring.sum(a.semiring, terms, 1)


@_law("the empty sum", "sum() = 0")
def _empty_sum(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.semiring.sum(x.unsqueeze(1)[:, :0], 1), a.zero(x)


# --- the flags -------------------------------------------------------------------------------------------------------


@_law("commutativity of ⊗", "x ⊗ y = y ⊗ x", flag="commutative")
def _times_commutes(a: JudgedAlgebra, x: Tensor, y: Tensor) -> Sides:
    return a.times(x, y), a.times(y, x)


@_law("idempotence of ⊕", "x ⊕ x = x", flag="idempotent")
def _plus_idempotent(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.plus(x, x), x


@_law("absorption", "1 ⊕ x = 1", flag="absorptive")
def _absorption(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.plus(a.one(x), x), a.one(x)


@_law("idempotence of ⊗", "x ⊗ x = x", flag="times_idempotent")
def _times_idempotent(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.times(x, x), x


@_law("selectivity", "x ⊕ y is x or y", flag="selective")
def _selectivity(a: JudgedAlgebra, x: Tensor, y: Tensor) -> Sides:
    found = a.plus(x, y)
    return found, choose(a.same(found, x), x, y)


@_law("natural order", "x ⊕ y ⊕ z = x implies x ⊕ y = x", flag="naturally_ordered")
def _natural_order(a: JudgedAlgebra, x: Tensor, y: Tensor, z: Tensor) -> Sides:
    """Antisymmetry: x <= x ⊕ y always, and x ⊕ y <= x is the premise."""
    there = a.plus(x, y)
    return choose(a.same(a.plus(there, z), x), there, x), x


# --- the optional operations -----------------------------------------------------------------------------------------


@_law("difference", "x ⊕ (y ⊖ x) = y ⊕ (x ⊖ y), in a ring y ⊕ (x ⊖ y) = x", method="monus")
def _difference(a: JudgedAlgebra, x: Tensor, y: Tensor) -> Sides:
    forth = a.plus(y, a.semiring.monus(x, y))
    return (forth, x) if a.semiring.ring else (a.plus(x, a.semiring.monus(y, x)), forth)


@_law("difference of equals", "x ⊖ x = 0", method="monus")
def _no_difference(a: JudgedAlgebra, x: Tensor) -> Sides:
    return a.semiring.monus(x, x), a.zero(x)


@_law("repeated difference", "(x ⊖ y) ⊖ z = x ⊖ (y ⊕ z)", method="monus")
def _repeated_difference(a: JudgedAlgebra, x: Tensor, y: Tensor, z: Tensor) -> Sides:
    """With the two before, the axioms of a monoid with monus. Source: Amer 1984, Equationally complete classes."""
    monus = a.semiring.monus
    return monus(monus(x, y), z), monus(x, a.plus(y, z))


@_law("residuation", "y ⊗ z ≤ x iff z ≤ x / y; y ⊗ (x / y) = x where ⊕ is not idempotent", method="residual")
def _residuation(a: JudgedAlgebra, x: Tensor, y: Tensor, z: Tensor) -> Sides:
    # Without a largest element there is no residual by zero: there the law says nothing.
    divisible = torch.ones(len(y), dtype=torch.bool) if a.semiring.absorptive else ~a.same(y, a.zero(y))
    y = choose(divisible, y, a.one(y))
    quotient = a.semiring.residual(x, y)
    if not a.semiring.idempotent:
        return choose(divisible, a.times(y, quotient), x), x
    left, right = a.below(a.times(y, z), x), a.below(z, quotient)
    return choose(divisible, left, right), right


@_law("star", "x* = 1 ⊕ x ⊗ x*, where it exists", method="star")
def _star(a: JudgedAlgebra, x: Tensor) -> Sides:
    exists = torch.tensor([_converges(a.semiring, one) for one in x.split(1)], dtype=torch.bool)
    x = choose(exists, x, a.zero(x))
    star = a.semiring.star(x)
    return star, a.plus(a.one(x), a.times(x, star))


def _converges(semiring: Semiring, x: Tensor) -> bool:
    try:
        semiring.star(x)
    except NonFiniteError:
        return False
    return True


LAWS: tuple[Law, ...] = tuple(_LAWS)
