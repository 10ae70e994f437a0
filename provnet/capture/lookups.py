"""Integers have no relevance: where they become floating, in an embedding say, the result is the source.

Dependence on an integer argument is followed through ops that route or renumber entries, as if it were a traced
tensor. After the run integers count as constants, and what was looked up with them stands among the sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from provnet.capture.execution import Ref
from provnet.capture.operations import Facts
from provnet.capture.replay import run_call
from provnet.capture.steps import RecordedStep
from provnet.capture.store import StoreEntry
from provnet.errors import CrossExampleError, InputError

_TABLES = {"embedding": 1, "_embedding_bag": 1, "_embedding_bag_forward_only": 1}
"""Look-ups in a table -> where their indices stand among the arguments; these have to lie within the table."""
_BAGS = frozenset({"_embedding_bag", "_embedding_bag_forward_only"})
_INDEXED = {"index": 1, "_unsafe_index": 1, "index_select": 2, "gather": 2, "take": 1}
"""The same for index ops, which look up if what they index is a constant."""


@dataclass(eq=False)
class Found:
    """One source that came up during the run: a value, what led to it, and where that was."""

    value: int
    argument: str
    path: str
    call: int
    key: str = ""
    made: Callable[[Callable[[Ref], Tensor]], Tensor] | None = None
    """Looks up again, given what stands behind references: autograd can follow that to the table."""


@dataclass(eq=False)
class Lookups:
    """The integer arguments that are followed, and what was found: `numbers` is value id -> argument name.

    explicit  the caller named them: then any op that makes them floating counts, a cast too, and not just a look-up.
    """

    numbers: dict[int, str] = field(default_factory=dict)
    explicit: bool = False
    batch_dim: int = 0
    found: list[Found] = field(default_factory=list)

    def applies(
        self, facts: Facts, args: Sequence[Any], result: Tensor, active: Sequence[Tensor], is_learned: bool
    ) -> bool:
        """Return whether an op turns integers, and nothing else that is traced, into a source.

        `is_learned` says whether its first argument is a parameter: an index op looks up in one, but picks the degrees
        of a graph's nodes from a constant.
        """
        if not result.is_floating_point() or any(t.is_floating_point() for t in active):
            return False
        place = _TABLES.get(facts.base, _INDEXED.get(facts.base))
        if place is None or (facts.base in _INDEXED and not is_learned):
            return self.explicit
        return any(_holds(args[place], t) for t in active)

    def argument_of(self, steps: Sequence[RecordedStep], value: int) -> str:
        """Return the names of the integer arguments that a value was made of, joined by "+"."""
        _, roots = self._way_to(steps, value)
        return "+".join(name for number, name in self.numbers.items() if number in roots)

    def check(self, facts: Facts, args: Sequence[Any], steps: Sequence[RecordedStep], value: int, path: str) -> None:
        """Refuse indices that are out of the table, or none at all, by the name of the argument they came from."""
        place = _TABLES.get(facts.base)
        if place is None:
            return
        table, index = args[0], args[place]
        name = self.argument_of(steps, value)
        if index.numel() == 0:
            raise InputError(
                f"the source {name!r} is empty where {path!r} looks it up, of shape {tuple(index.shape)}. Pass one "
                "token or more."
            )
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= table.shape[0]:
            worst = low if low < 0 else high
            raise InputError(
                f"the source {name!r} holds the number {worst}, but the table of {path!r} has {table.shape[0]} rows, "
                f"numbered from 0. Pass numbers below {table.shape[0]}, or take a larger table."
            )

    def axis_of(
        self, facts: Facts, entries: Sequence[StoreEntry], steps: Sequence[RecordedStep], value: int, result: Tensor
    ) -> tuple[tuple[int, ...], list[int]] | None:
        """Return how to lay out a look-up's result so that examples lie on `batch_dim`: (shape, permutation).

        None: they do already. The result is permuted first and given that shape afterwards.
        Raises: `CrossExampleError` if it is no layout at all.
        """
        if facts.base in _BAGS:
            return None  # one row for each bag
        way, roots = self._way_to(steps, value)
        root = next(number for number in self.numbers if number in roots)
        given, dim = entries[root].tensor, self.batch_dim
        if given.dim() <= dim:
            raise self._no_axis(steps, value)
        batch, index = given.shape[dim], entries[value].tensor
        if result.shape[: index.dim()] != index.shape:
            if result.dim() > dim and result.shape[dim] == batch:
                return None
            raise self._no_axis(steps, value)
        if value in self.numbers:
            return None
        if batch == 1:
            if result.dim() > dim and result.shape[dim] == 1:
                return None
            return (*result.shape[:dim], 1, *result.shape[dim:]), list(range(result.dim()))
        numbers = torch.arange(batch).view([-1 if i == dim else 1 for i in range(given.dim())]).expand(given.shape)
        first, second = (_rerun(way, entries, dict.fromkeys(roots, numbers + k * batch), value) for k in (0, 1))
        known = second - first == batch
        for axis in (dim, *range(first.dim())):
            if axis < first.dim() and first.shape[axis] == batch:
                expected = torch.arange(batch).view([-1 if i == axis else 1 for i in range(first.dim())])
                if bool(((first == expected) | ~known).all()):
                    order = list(range(result.dim()))
                    order.insert(dim, order.pop(axis))
                    return None if axis == dim else (tuple(result.shape[i] for i in order), order)
        size = first.shape[0] // batch
        grouped = torch.arange(first.shape[0]).div(max(size, 1), rounding_mode="floor")
        grouped = grouped.view([-1, *[1] * (first.dim() - 1)])
        if dim == 0 and size * batch == first.shape[0] and bool(((first == grouped) | ~known).all()):
            return (batch, size, *result.shape[1:]), list(range(result.dim()))
        raise self._no_axis(steps, value)

    def _no_axis(self, steps: Sequence[RecordedStep], value: int) -> CrossExampleError:
        return CrossExampleError(
            f"{self.argument_of(steps, value)!r} is looked up in an order in which its examples have no axis of their "
            "own. Trace one example at a time, or say where the examples are: batch_dim=."
        )

    def _way_to(self, steps: Sequence[RecordedStep], value: int) -> tuple[list[RecordedStep], set[int]]:
        """Return the steps that lead from integer arguments to a value, and these arguments."""
        wanted, way = {value}, []
        for step in reversed(steps):
            if any(output in wanted for output in step.outputs if output is not None):
                way.append(step)
                wanted.update(step.reads)
        return way[::-1], wanted & set(self.numbers)

    def revive(self, entries: Sequence[StoreEntry]) -> None:
        """Look up again above autograd, so that gradients go on from the sources to the tables."""

        def live(ref: Ref) -> Tensor:
            entry = entries[ref.id]
            return entry.tensor if entry.live is None else entry.live

        for found in self.found:
            if found.made is not None:
                made = found.made(live)
                entries[found.value].live = made if made.requires_grad else None

    def names(self, calls: Mapping[str, int]) -> dict[str, Found]:
        """Return name -> source for all that was found.

        A look-up goes by the argument's name; if there are several of one argument by "argument@module". A module's
        output goes by its path.
        """
        count: dict[str, int] = {}
        for found in self.found:
            count[found.argument] = count.get(found.argument, 0) + 1
        named: dict[str, Found] = {}
        for found in self.found:
            place = found.path if calls.get(found.path, 1) == 1 else f"{found.path}#{found.call}"
            if not found.argument:
                name = place + found.key
            elif count[found.argument] == 1:
                name = found.argument
            else:
                name = f"{found.argument}@{place}"
            while name in named:
                name += "'"
            named[name] = found
        return named


def made_again(
    function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], layout: tuple[tuple[int, ...], list[int]] | None
) -> Callable[[Callable[[Ref], Tensor]], Tensor]:
    """Return what makes a look-up again in its layout; `args` and `kwargs` hold references."""

    def make(tensor: Callable[[Ref], Tensor]) -> Tensor:
        result = run_call(function, args, kwargs, lambda value: tensor(Ref(value)))[0]
        return result if layout is None else result.permute(layout[1]).reshape(layout[0])

    return make


def _holds(argument: Any, tensor: Tensor) -> bool:
    parts = argument if isinstance(argument, list | tuple) else (argument,)
    return any(part is tensor for part in parts)


def index_of(facts: Facts, args: Sequence[Any], active: Sequence[Tensor]) -> Tensor:
    """Return the traced integers that an op makes floating."""
    place = _TABLES.get(facts.base, _INDEXED.get(facts.base))
    return active[0] if place is None else next(t for t in active if _holds(args[place], t))


def _rerun(
    steps: Sequence[RecordedStep], entries: Sequence[StoreEntry], numbers: Mapping[int, Tensor], wanted: int
) -> Tensor:
    """Run integer steps on other numbers. Those that renumber entries hand on the first traced operand as it is."""
    made = dict(numbers)

    def resolve(tree: Any) -> Any:
        if isinstance(tree, Ref):
            return made.get(tree.id, entries[tree.id].tensor)
        if isinstance(tree, tuple | list):
            return [resolve(part) for part in tree]
        return tree

    for step in steps:
        if step.renumbers:
            like = next(entries[o].tensor for o in step.outputs if o is not None)
            first = next(made[r] for r in step.reads if r in made)
            results: Any = (first.expand(like.shape),)
        else:
            results = step.function(*resolve(step.args), **{k: resolve(v) for k, v in step.kwargs.items()})
        results = results if isinstance(results, tuple | list) else (results,)
        made.update((o, r) for o, r in zip(step.outputs, results, strict=True) if o is not None)
    return made[wanted]
