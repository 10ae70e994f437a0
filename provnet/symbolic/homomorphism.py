"""Homomorphisms between symbolic carriers, as objects: applied, composed, and refused with the reason."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from provnet.errors import OptionError, UnknownNameError, UnsupportedOperationError, ValuationError
from provnet.symbolic.carriers.base import REGISTRY, get, plain
from provnet.symbolic.carriers.quotients import QUOTIENTS
from provnet.symbolic.carriers.readings import READINGS
from provnet.symbolic.formula import Formula
from provnet.symbolic.parse import parse

MAPS = QUOTIENTS | READINGS

EQUATIONS = (("x + x", "x"), ("x * x", "x"), ("x + x * y", "x"), ("x + y", "x * y"), ("x", "1"))
"""Tried in order to show that there is no map: laws that tell the carriers apart."""


@dataclass(frozen=True)
class Homomorphism:
    """A map that respects ⊕, ⊗, zero and one, and takes each variable to itself (in 𝔹 to true).

    `path` names the carriers on the way, source and target included. Call it with an element, or with a whole result, a
    mapping root -> element. `f.then(g)` and `g @ f` are f followed by g.
    Example: `homomorphism("N[X]", "Why")(gates.polynomial())`
    """

    path: tuple[str, ...]

    @property
    def source(self) -> str:
        """The name of the carrier whose elements it takes."""
        return self.path[0]

    @property
    def target(self) -> str:
        """The name of the carrier whose elements it gives."""
        return self.path[-1]

    @property
    def steps(self) -> tuple[Callable[[Any], Any], ...]:
        """The maps that it is made of, in order."""
        return tuple(MAPS[pair] for pair in zip(self.path, self.path[1:], strict=False))

    def __call__(self, value: Any) -> Any:
        """Return the image of an element, or of each element of a mapping.

        Raises: `ValuationError` for what is no element of the source, `LimitError` where a formula is too long.
        """
        if isinstance(value, Mapping):
            found = copy(value) if isinstance(value, dict) else {}  # a result that takes names goes on taking them
            found.update({root: self(element) for root, element in value.items()})
            return found
        _check(value, self.source)
        for step in self.steps:
            value = step(value)
        return value

    def then(self, other: Homomorphism) -> Homomorphism:
        """Return this map followed by `other`. Raises `OptionError` if `other` starts from another carrier."""
        if other.source != self.target:
            raise OptionError(
                f"{other} takes elements of {other.source!r}, and {self} gives elements of {self.target!r}: put "
                f"homomorphism({self.target!r}, {other.source!r}) between them, if there is one."
            )
        return Homomorphism(self.path + other.path[1:])

    def __matmul__(self, other: Homomorphism) -> Homomorphism:
        return other.then(self) if isinstance(other, Homomorphism) else NotImplemented

    def __str__(self) -> str:
        return " → ".join(self.path if len(self.path) > 1 else self.path * 2)


def homomorphism(source: str, target: str) -> Homomorphism:
    """Return the homomorphism between two symbolic carriers, or from one to "boolean" with every variable true.

    Where there is no direct one it is the shortest composition; all compositions between the same two agree.
    source, target   names of the two semirings.
    Raises: `UnknownNameError`; `UnsupportedOperationError` where there is none, with an equation that shows it.
    Source: Green 2011, figure 2. Example: `homomorphism("N[X]", "Why")` is N[X] → B[X] → Why.
    """
    start, end = _named(source), _named(target)
    paths = [(start,)]
    for path in paths:  # grows while it is read: breadth first, so the first one that arrives is shortest
        if path[-1] == end:
            return Homomorphism(path)
        known = {p[-1] for p in paths}
        paths += [(*path, b) for a, b in MAPS if a == path[-1] and b not in known]
    raise UnsupportedOperationError(
        f"there is no homomorphism from {start!r} to {end!r}: {_reason(start, end)} "
        f"From {start!r} there are maps to {', '.join(repr(p[-1]) for p in paths[1:]) or 'nothing else'}."
    )


def _named(name: str) -> str:
    """Return the own name of a carrier that may be called by another, or "boolean"."""
    if plain(name) in ("boolean", "b"):
        return "boolean"
    try:
        return get(name).name
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} A homomorphism may lead to 'boolean' too.") from None


def _value(name: str, text: str) -> Any:
    """Return the value of a small expression at the carrier's own variables."""
    if name == "boolean":
        return parse(text).fold(operator.or_, operator.and_, False, True, lambda _: True)
    k = REGISTRY.get(name)
    return parse(text).fold(k.plus, k.times, k.zero, k.one, k.variable)


def _reason(source: str, target: str) -> str:
    """Return the equation that holds in the one and not in the other: a function cannot give one element two images."""
    for left, right in EQUATIONS:
        first, second = _value(target, left), _value(target, right)
        if _value(source, left) == _value(source, right) and first != second:
            text = REGISTRY.get(target).text
            return f"{left} = {right} holds in {source!r}, and in {target!r} they are {text(first)} and {text(second)}."
    return "none is known."


def _check(value: Any, name: str) -> None:
    """Refuse what cannot be an element: carriers are told apart by the type of their elements as far as that goes."""
    kinds = (bool,) if name == "boolean" else (type(REGISTRY.get(name).zero), type(REGISTRY.get(name).one))
    if not isinstance(value, (*kinds, Formula) if name == "formula" else kinds):
        wanted = " or ".join(dict.fromkeys(kind.__name__ for kind in kinds))
        raise ValuationError(
            f"{value!r} is no element of {name!r}, whose elements are of type {wanted}. "
            f"gates.provenance({name!r}) gives some."
        )
