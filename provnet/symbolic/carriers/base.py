"""What a symbolic carrier is: a commutative semiring of Python objects that contains the variables.

Elements are immutable, hashable, and in normal form, so that equality is `==`. Use one by `fold`:
`fold(store, why.plus, why.times, why.zero, why.one, lambda v: why.variable(v.name))`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import reduce
from typing import Any, ClassVar, Generic, TypeVar

from provnet.registry import SEMIRING_SHELVES, Registry
from provnet.symbolic.formula import value_of
from provnet.symbolic.polynomial import Monomial, power

E = TypeVar("E", bound=Hashable)
K = TypeVar("K")

REGISTRY: Registry[Carrier[Any]] = Registry("symbolic carrier", shelves=SEMIRING_SHELVES)


class Carrier(Generic[E]):
    """(K, plus, times, zero, one) with an element for each variable. State a flag only if it holds."""

    name: ClassVar[str] = ""
    question: ClassVar[str] = ""
    """What it answers on a network, one sentence for the documents."""
    zero: E
    one: E
    idempotent: bool = False  # x plus x = x
    absorptive: bool = False  # one plus x = one
    times_idempotent: bool = False  # x times x = x
    valid_for: ClassVar[frozenset[str]] = frozenset()
    """The flags of a semiring by which its value is a function of the value here. "squares" is asked of the valuation
    only: v(x) times v(x) = v(x) for every variable x. Empty: every commutative semiring."""

    def variable(self, name: str) -> E:
        """Return the element of one variable."""
        raise NotImplementedError

    def plus(self, x: E, y: E) -> E:
        raise NotImplementedError

    def times(self, x: E, y: E) -> E:
        raise NotImplementedError

    def monomials(self, x: E) -> Iterable[tuple[Monomial, int]]:
        """Return the monomials with multiplicities of one polynomial that stands for `x`."""
        raise NotImplementedError

    def text(self, x: E) -> str:
        """Return an element in words a reader knows."""
        return str(x)

    def specialise(
        self,
        x: E,
        valuation: Mapping[str, K] | Callable[[str], K],
        plus: Callable[[K, K], K],
        times: Callable[[K, K], K],
        zero: K,
        one: K,
    ) -> K:
        """Return the value of `x` in another semiring, where `valid_for` holds: the extension of the valuation."""
        values = []
        for monomial, number in self.monomials(x):
            factors = [power(value_of(valuation, name), exponent, times, one) for name, exponent in monomial]
            values.append(power(reduce(times, factors, one), number, plus, zero))
        return reduce(plus, values, zero)


def register(*names: str) -> Callable[[type[Carrier[Any]]], type[Carrier[Any]]]:
    """Return a decorator that files a carrier's only instance under `names`."""

    def file(cls: type[Carrier[Any]]) -> type[Carrier[Any]]:
        REGISTRY.register(*names)(cls())
        return cls

    return file


def get(name: str) -> Carrier[Any]:
    """Return the carrier called so; case is free, and ℕ and 𝔹 read as N and B. Raises `UnknownNameError`."""
    return REGISTRY.get(plain(name))


def plain(name: str) -> str:
    """Return a name as registries hold it: "ℕ[X]" and "N[X]" are n[x]."""
    return unicodedata.normalize("NFKC", name).casefold()


def minimal(items: Iterable[K], divides: Callable[[K, K], bool], size: Callable[[K], int]) -> frozenset[K]:
    """Return the items that no other one divides. Time: quadratic in the number kept and given."""
    kept: list[K] = []
    for item in sorted(set(items), key=size):  # what divides an item is smaller, so it comes first
        if not any(divides(smaller, item) for smaller in kept):
            kept.append(item)
    return frozenset(kept)
