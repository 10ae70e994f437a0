"""Annotation functions Θ: the coefficients of a neuron's whole set of inputs -> semiring elements.

Θ is no homomorphism; it is any function. An absent edge is the semiring's zero whatever Θ is, and so is an undefined
one if Θ uses d: the base class writes these, a subclass only says what an ordinary edge gets.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor

from provnet.errors import DTypeError
from provnet.registry import Registry
from provnet.semirings.base import Semiring, fingerprint

SYNONYMS = {
    "abs": ("absolute",),
    "max-normalized": ("max-normalised",),
    "-log": ("neg-log",),
    "log-abs": ("log-absolute",),
    "thresholded": ("threshold",),
    "relu": ("positive",),
}

REGISTRY: Registry[type[Annotation]] = Registry("annotation function", SYNONYMS)
A = TypeVar("A", bound="type[Annotation]")


def register(name: str) -> Callable[[A], A]:
    """Return a decorator that files a class under `name`, and tells the class its name. Raises `OptionError`."""

    def file(entry: A) -> A:
        entry.name = name
        REGISTRY.register(name)(entry)
        return entry

    return file


class Edges(Protocol):
    """What a propagation rule gives Θ. Slots lie on the last axis, the bias last; None for a mask means: all are."""

    @property
    def p(self) -> Tensor:
        """Contributions, [..., slots]."""
        ...

    @property
    def z(self) -> Tensor:
        """Denominators as the rule stabilises them, [...]."""
        ...

    @property
    def d(self) -> Tensor:
        """Coefficients, [..., slots]; 0 where not defined."""
        ...

    @property
    def present(self) -> Tensor | None: ...

    @property
    def defined(self) -> Tensor | None:
        """Where d is a finite number and z is not 0."""
        ...


MEANING = {"value", "passes", "rounded", "lost", "__call__"}
"""Methods that say what Θ gives: a subclass with one of its own inherits no declaration."""


class Annotation:
    """The base of annotation functions. A subclass states what it uses, its form, and `value`."""

    name: str = ""
    uses: Literal["p", "d"] = "d"
    form: str = "general"
    """The structure a fast route may rely on: "identity", "threshold", "normalised", "neg-log", "elementwise"
    or "general".

    A subclass with a method of its own from `MEANING` does not inherit it.
    """

    scalar: str | None = None
    """The element of one edge, as an expression (see `semirings.scalar`) of its contribution p, its coefficient d, or p
    and its neuron's largest contribution m; None: it is no such expression. Inherited as `form` is.
    """

    differentiable: bool = False
    """Whether autograd gets the derivative of `value`, and no NaN where d is 0, not defined or absent."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not MEANING & vars(cls).keys():
            return
        for declared, default in (("form", "general"), ("scalar", None), ("differentiable", False)):
            if declared not in vars(cls):
                setattr(cls, declared, default)  # else it would inherit a wrong shortcut

    def at(self, path: str) -> Annotation:
        """Return the annotation function of the block `path`: itself, unless it differs by layer."""
        return self

    def bind(self, semiring: Semiring) -> Annotation:
        """Return the annotation function to use in `semiring`: itself, unless it is built from the semiring's parts."""
        return self

    def patterns(self) -> tuple[str, ...]:
        """Return the path patterns it mentions, so that one that matches no block can be refused."""
        return ()

    def floats(self, x: Tensor, dtype: torch.dtype, semiring: Semiring) -> Tensor:
        """Return real numbers as elements of `dtype`. Raises `DTypeError` if that would truncate them."""
        if not dtype.is_floating_point:
            raise DTypeError(
                f"the annotation function {self.name!r} gives real numbers, the semiring {semiring.name!r} takes "
                f"{dtype}. Use one that decides, such as Threshold(theta)."
            )
        return x.to(dtype)

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        """Return an element for each edge, of dtype `dtype`, present or not: [..., slots, *element_shape]."""
        raise NotImplementedError

    def masks_absent(self, semiring: Semiring) -> bool:
        """Whether `value` itself gives absent edges the semiring's zero, so that no other pass need write it."""
        return False

    def __call__(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        """Return the elements of the edges: `value` where the edge is present and, if d is used, defined; else zero.

        Raises: `DTypeError`, `ValuationError` if the annotation function leaves the semiring's carrier.
        """
        elements = self.value(edges, semiring, dtype)
        present = None if self.masks_absent(semiring) else edges.present
        for mask in (present, edges.defined if self.uses == "d" else None):
            if mask is not None:
                zero = semiring.full((), semiring.zero, elements)
                elements = torch.where(mask[(...,) + (None,) * len(semiring.element_shape)], elements, zero)
        if self.name != semiring.annotation:  # what a semiring names as its own stays in the carrier
            semiring.require(elements, f"what the annotation function {self.name!r} gives")
        return elements

    def lost(self, edges: Edges) -> Tensor | None:
        """Return where a neuron loses its whole relevance, [...], for want of an edge with a value; None: nowhere."""
        masks = [edges.present, edges.defined if self.uses == "d" else None]
        found = [mask for mask in masks if mask is not None]
        return ~reduce(operator.and_, found).any(dim=-1) if found else None

    def key(self) -> tuple[object, ...]:
        """Return what tells two instances apart: jobs with equal keys share their work."""
        return (type(self), *sorted((k, fingerprint(v)) for k, v in vars(self).items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
