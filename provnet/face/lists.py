"""Several questions in one call: lists of semirings, annotation functions and rules run side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product as product_of
from typing import Any

import torch

from provnet.circuit.blocks import BlockCircuit
from provnet.errors import OptionError, UnknownNameError
from provnet.face.neuron_names import check_patterns
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings import annotations
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import REGISTRY, Semiring
from provnet.semirings.lookup import get as get_semiring
from provnet.symbolic.carriers.base import Carrier


@dataclass(frozen=True, eq=False)
class EdgeQuestion:
    """What the edges are worth in one question."""

    semiring: Semiring
    annotation: Annotation
    rule: Rule


def questions_of(
    circuit: BlockCircuit, semiring: Any, rule: Any, annotation: Any, exact: bool = False, product: bool = False
) -> tuple[list[EdgeQuestion], bool]:
    """Return the questions of one call, and whether any of its arguments was a list, so that a list is the answer.

    Lists (or tuples) run side by side: question n takes the n-th entry of each, and what is no list stands for all.
    With `product` every semiring meets every rule, and both every annotation function, the last list fastest.
    Raises: `OptionError` for lists of different lengths, `UnknownNameError` for a pattern of paths that fits no block.
    """
    if not isinstance(product, bool):
        raise OptionError(f"product={product!r} is neither True nor False.")
    if product:
        semiring, rule, annotation = _crossed(semiring, rule, annotation)
    count = _count({"semiring": semiring, "rule": rule, "annotation": annotation})
    algebras = [_algebra(one) for one in _spread(semiring, count)]
    if not isinstance(exact, bool):
        raise OptionError(f"exact={exact!r} is neither True nor False.")
    algebras = [exact_counting(one) for one in algebras] if exact else algebras
    rules = [lrp.get(one) for one in _spread(rule, count)]
    thetas = annotations_of(circuit, algebras, annotation)
    return [EdgeQuestion(*parts) for parts in zip(algebras, thetas, rules, strict=True)], count is not None


def _algebra(given: Any) -> Semiring:
    """Return a semiring. Raises `UnknownNameError`, with the way to the symbolic carriers for one of theirs."""
    found = algebra_named(given)
    if isinstance(found, Carrier):
        raise UnknownNameError(
            f"{given!r} is a symbolic carrier, whose elements are no numbers: circuit.provenance({given!r}) gives them."
        )
    return found


def algebra_named(given: str | Semiring | Carrier[Any]) -> Semiring | Carrier[Any]:
    """Return the semiring of numbers or of symbols that is called so; an instance is returned as it is.

    Raises: `UnknownNameError`, with the names of both kinds that come near; `OptionError` for any other kind of object.
    """
    if isinstance(given, Carrier):
        return given
    found = REGISTRY.find(given) if isinstance(given, str) else given
    return found if isinstance(found, Carrier) else get_semiring(given)


def _count(given: Mapping[str, Any]) -> int | None:
    """Return how many questions there are, None if nothing is a list."""
    lengths = {name: len(value) for name, value in given.items() if isinstance(value, list | tuple)}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} lists {length}" for name, length in lengths.items())
        raise OptionError(
            f"lists run side by side, so they must be of one length: {shown}. What is no list stands for all; for "
            "every combination give product=True."
        )
    return next(iter(lengths.values()), None)


def _crossed(*lists: Any) -> Sequence[Any]:
    """Return the lists so that side by side they are every combination; what is no list stays as it is."""
    named = [number for number, value in enumerate(lists) if isinstance(value, list | tuple)]
    rows = list(product_of(*(lists[number] for number in named)))
    crossed = list(lists)
    for place, number in enumerate(named):
        crossed[number] = [row[place] for row in rows]
    return crossed


def _spread(value: Any, count: int | None) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value] * (1 if count is None else count)


def annotations_of(circuit: BlockCircuit, algebras: Sequence[Semiring], given: Any) -> list[Annotation]:
    """Return one annotation function for each semiring: from one for all, a list, or a mapping by semiring name.

    Raises: `OptionError`; `UnknownNameError` for a pattern of paths that fits no block.
    """
    if isinstance(given, Mapping):
        unknown = set(given) - {s.name for s in algebras}
        if unknown:
            raise OptionError(
                f"annotation names {sorted(unknown)}, which are not asked for ({[s.name for s in algebras]})."
            )
        chosen: Sequence[Any] = [given.get(s.name) for s in algebras]
    else:
        chosen = _spread(given, len(algebras))
    found = [annotations.resolve(theta, s) for theta, s in zip(chosen, algebras, strict=True)]
    for theta in found:
        check_patterns(theta.patterns(), circuit.blocks, "the annotation's pattern")
    return found


def exact_counting(semiring: Semiring) -> Semiring:
    """Return the semiring with its counts held exactly, of any size. Raises `OptionError` if it holds none, or if it
    asks for floats."""
    exact = semiring.held("exact")
    if not exact.residues:
        raise OptionError(
            f"exact=True counts paths in Python integers, and {semiring.name!r} does not count. Leave it out; "
            "result.exact says whether elements were rounded, dtype=torch.float64 rounds less."
        )
    if any(part.counts and part.dtype == torch.float64 for part, *_ in semiring.parts(None)):
        raise OptionError("exact=True contradicts Counting(overflow='float64'). Take 'counting', or leave exact= out.")
    return exact
