"""Several semirings in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from math import prod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.errors import DTypeError, OptionError
from provnet.semirings.base import Overflow, Semiring, register
from provnet.semirings.lookup import get

FLAGS = ("commutative", "ring", "idempotent", "absorptive", "times_idempotent", "naturally_ordered")


@register("product")
class Product(Semiring):
    """S1 x S2 x ...: tuples, componentwise. A law holds if it holds in each component; selectivity never does.

    An element is one row: the components' channels one after another, in one dtype that holds them all. Whole numbers
    above 2^24 beside floats are refused, for they would be rounded. Carrier: that of each component.
    Source: universal algebra; equations carry over to products (Birkhoff).
    """

    annotation = "each"
    question = "What do several semirings answer, each for itself, in one pass?"

    def __init__(self, *components: str | Semiring) -> None:
        if len(components) == 1:
            raise OptionError("a product needs two semirings or more.")
        self._hold([get(component) for component in components or ("viterbi", "boolean")])

    def _hold(self, components: Sequence[Semiring]) -> None:
        self.components = tuple(components)
        self.sizes = [prod(component.element_shape) for component in self.components]
        self.element_shape = (sum(self.sizes),)
        self.dtype = common_dtype(self.components)
        self.exact = all(component.exact for component in self.components)
        self.wraps = any(component.wraps for component in self.components)
        self.residues = any(component.residues for component in self.components)
        for flag in FLAGS:
            setattr(self, flag, all(getattr(component, flag) for component in self.components))
        like = torch.empty((), dtype=self.element_dtype(torch.float64))
        self.zero = self.join([c.full((), c.zero, self._like(c, like)) for c in self.components], like)
        self.one = self.join([c.full((), c.one, self._like(c, like)) for c in self.components], like)

    def _like(self, component: Semiring, like: Tensor) -> Tensor:
        floating = like.dtype if like.is_floating_point() else torch.float64
        return like.new_empty((), dtype=component.element_dtype(floating))

    def split(self, x: Tensor) -> list[Tensor]:
        """Return the components of elements [..., channels], each with its own dtype and element shape."""
        parts = x.split(self.sizes, dim=-1)
        return [
            part.reshape((*x.shape[:-1], *c.element_shape)).to(self._like(c, x).dtype)
            for part, c in zip(parts, self.components, strict=True)
        ]

    def join(self, parts: list[Tensor], like: Tensor) -> Tensor:
        """Return elements from their components, in the dtype of `like`: the inverse of `split`."""
        rows = [
            part.reshape(*part.shape[: part.dim() - len(c.element_shape)], size).to(like.dtype)
            for part, size, c in zip(parts, self.sizes, self.components, strict=True)
        ]
        return torch.cat(rows, dim=-1)

    def _each(self, operation: Callable[..., Tensor], *elements: Tensor) -> Tensor:
        parts = zip(self.components, *map(self.split, elements), strict=True)
        return self.join([operation(component, *given) for component, *given in parts], elements[0])

    def _with(self, components: Sequence[Semiring]) -> Self:
        if all(one is other for one, other in zip(components, self.components, strict=True)):
            return self
        found = copy(self)
        found._hold(components)
        return found

    def ladder(self) -> tuple[Semiring, ...]:
        """Return the products of the lowest rungs and of the highest ones; not these, if they have no dtype in common
        or if a component has none above."""
        ladders = [component.ladder() for component in self.components]
        lowest = self._with([ladder[0] for ladder in ladders])
        if any(c.wraps for c in (ladder[-1] for ladder in ladders)):
            return (lowest,)
        try:
            highest = self._with([ladder[-1] for ladder in ladders])
        except DTypeError:
            return (lowest,)
        return (lowest,) if highest is lowest else (lowest, highest)

    def held(self, overflow: Overflow) -> Self:
        """Raises `DTypeError` if counts held so have no dtype in common with the other components."""
        return self._with([component.held(overflow) for component in self.components])

    def with_primes(self, bits: int) -> Self:
        return self._with([component.with_primes(bits) for component in self.components])

    def encode(self, whole: Tensor) -> Tensor:
        parts = zip(self.components, self.held("raise").split(whole), strict=True)
        return self.join([component.encode(part) for component, part in parts], whole)

    def decode(self, elements: Tensor) -> NDArray[Any]:
        """Return rows as arrays of Python objects, in which an exact count takes one place."""
        parts = [c.decode(part) for c, part in zip(self.components, self.split(elements), strict=True)]
        return np.concatenate([part.reshape(*elements.shape[:-1], -1) for part in parts], axis=-1)

    def parts(self, annotation: Any, *elements: Tensor) -> list[tuple[Semiring, Any, tuple[Tensor, ...]]]:
        thetas = (None,) * len(self.components) if annotation is None else getattr(annotation, "inner", None)
        if not isinstance(thetas, tuple) or len(thetas) != len(self.components):
            return [(self, annotation, elements)]  # a function of whole rows
        split = [self.split(x) for x in elements]
        return [
            part
            for n, (component, theta) in enumerate(zip(self.components, thetas, strict=True))
            for part in component.parts(theta, *(x[n] for x in split))
        ]

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self._each(lambda c, a, b: c.plus(a, b), x, y)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return self._each(lambda c, a, b: c.times(a, b), x, y)

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Fold each component by its own sum, [.., n, .., channels] -> [.., .., channels]."""
        return self._each(lambda c, a: c.sum(a, dim), x)

    def offers(self, operation: str) -> bool:
        rings = {component.ring for component in self.components}
        if operation == "monus" and len(rings) > 1:
            return False  # a ring's difference and a truncated one keep different laws
        if operation == "residual" and not self.absorptive:
            return False  # a tuple with one zero among others has no residual where zero alone has none
        return all(component.offers(operation) for component in self.components)

    def star(self, x: Tensor) -> Tensor:
        return self._each(lambda c, a: c.star(a), x)

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        return self._each(lambda c, a, b: c.monus(a, b), x, y)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        return self._each(lambda c, a, b: c.residual(a, b), x, y)

    def outside(self, x: Tensor) -> str | None:
        problems = [c.outside(part) for c, part in zip(self.components, self.split(x), strict=True)]
        found = [f"{c.name}: {problem}" for c, problem in zip(self.components, problems, strict=True) if problem]
        return "; ".join(found) or None

    def exact_values(self, floating: torch.dtype = torch.float64) -> Tensor:
        """Return zero, one, and tuples in which the components' exact values meet at different paces."""
        like = torch.empty((), dtype=self.element_dtype(floating))
        values = [component.exact_values(floating) for component in self.components]
        rows = [self.join([v[(i * (j + 1)) % len(v)] for j, v in enumerate(values)], like) for i in range(2, 8)]
        return torch.cat([self.full((1,), self.zero, like), self.full((1,), self.one, like), torch.stack(rows)])

    def __repr__(self) -> str:
        return f"Product({', '.join(map(repr, self.components))})"


def common_dtype(components: tuple[Semiring, ...]) -> torch.dtype | None:
    """Return the dtype that holds the elements of all; None: the evaluation's. Raises `DTypeError` if none does."""
    wide = [c for c in components if c.dtype != torch.bool]
    dtypes = {c.dtype for c in wide}
    if len(dtypes) <= 1:
        return dtypes.pop() if dtypes else torch.bool
    whole = [c for c in wide if c.dtype is not None and not c.dtype.is_floating_point]
    for component in whole:
        if component.bounds is None or max(map(abs, component.bounds)) > 2**24:
            raise DTypeError(
                f"a product has one dtype, and no float holds every element of {component!r}. "
                f"Evaluate it beside the others, as a list of semirings, or take Counting(overflow='float64')."
            )
    floats = {c.dtype for c in wide if c not in whole}
    return torch.float64 if torch.float64 in floats else floats.pop()
