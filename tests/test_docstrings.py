"""Docstrings of the public functions and methods name every parameter of the signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import provnet
from provnet.face.valued_gates import ValuedGates

Function = Callable[..., Any]


def methods(cls: type) -> Iterator[tuple[str, Function]]:
    """Yield the public methods of a class, inherited ones of the package too."""
    for base in cls.__mro__:
        if base.__module__.startswith("provnet"):
            for name, member in vars(base).items():
                found = member.__func__ if isinstance(member, classmethod | staticmethod) else member
                if inspect.isfunction(found) and not name.startswith("_"):
                    yield f"{cls.__name__}.{name}", found


def public() -> Iterator[tuple[str, Function]]:
    """Yield what a user calls by a public name."""
    for name in provnet.__all__:
        found = getattr(provnet, name)
        if inspect.isclass(found):
            yield from methods(found)
        elif inspect.isfunction(found):
            yield name, found
        elif inspect.ismodule(found):
            inner = ((one, getattr(found, one)) for one in getattr(found, "__all__", ()))
            yield from ((f"{name}.{one}", part) for one, part in inner if inspect.isfunction(part))
    yield from methods(ValuedGates)


def unnamed(function: Function) -> list[str]:
    """Return the parameters that a docstring does not name."""
    bare = inspect.unwrap(function)
    text = inspect.getdoc(bare) or ""
    names = [name for name in inspect.signature(bare).parameters if name not in ("self", "cls")]
    return [name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)]


@pytest.mark.guarantee("the docstrings of public functions and methods name every parameter")
def test_docstrings_name_every_parameter():
    found = dict(public())
    assert len(found) > 80 and {"trace", "Circuit.evaluate", "GateCircuit.valued", "rules.AttnLRP"} <= set(found)
    assert {name: lost for name, function in found.items() if (lost := unnamed(function))} == {}


def test_a_parameter_that_is_not_named_is_found():
    def one(first: int, second: int) -> None:
        """Take the first."""

    assert unnamed(one) == ["second"]
