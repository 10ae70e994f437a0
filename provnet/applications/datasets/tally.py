"""`Tally`: what a sweep gives. A monoid: an empty one, examples are added, two of them are joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from provnet.applications.datasets.folds import ACCUMULATORS, FOLDS, add_part
from provnet.applications.datasets.sketch import quantile_of
from provnet.applications.datasets.tensor_file import read_tensors, write_tensors
from provnet.errors import FileFormatError, OptionError, UnknownNameError
from provnet.semirings.base import Semiring
from provnet.semirings.lookup import get as get_semiring

Key = tuple[str, str, str]
"""(semiring, tensor, accumulator)."""


@dataclass(eq=False)
class Tally:
    """Relevance folded over the examples of a dataset, by class.

    Ask with `tally["mean"]`, or `tally.of("mean", semiring=, at=, label=)` where there are several: tensors of the
    shape of one example. Classes are kept apart (`by` of `provnet.sweep`); without `label` all are joined.
    Example: `provnet.sweep(model, (images, labels), "real", combine="mean", by="label").of("mean", label=3)`

    semirings   label -> semiring, the labels of the questions: "boolean", or "boolean#1" for the second of its name.
    tensors     the names of the tensors.    folds   the names of the folds that were asked for.
    examples    [classes], how many were added.    settings   what the sweep was told, as plain data.
    states      (semiring, tensor, accumulator) -> [classes, *neurons].
    """

    semirings: Mapping[str, Semiring]
    tensors: tuple[str, ...]
    folds: tuple[str, ...]
    classes: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    examples: Tensor = field(init=False)
    states: dict[Key, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.examples = torch.zeros(self.classes, dtype=torch.int64)

    # -- the monoid ----------------------------------------------------------------------------------------------------

    def empty(self) -> Tally:
        """Return a tally of the same questions over no example."""
        return Tally(self.semirings, self.tensors, self.folds, self.classes, self.settings)

    def add(self, relevance: Mapping[tuple[str, str], Tensor], classes: Tensor) -> None:
        """Add examples: (semiring, tensor) -> [batch, *neurons, *element], and the class of each.

        relevance, classes   what a sweep gives for a batch: relevance by semiring and tensor, and each example's class.
        """
        self.examples += torch.bincount(classes.cpu(), minlength=self.classes)
        parts: dict[tuple[Any, ...], Tensor] = {}
        for (semiring, tensor), x in relevance.items():
            algebra = self.semirings[semiring]
            for name in self.accumulators:
                key, accumulator = (semiring, tensor, name), ACCUMULATORS[name]
                if key not in self.states:
                    self.states[key] = accumulator.empty(algebra, (self.classes, *x.shape[1:]), x)
                if accumulator.part is None:
                    self.states[key] = accumulator.add(self.states[key], algebra, classes.to(x.device), x)
                    continue
                memory = (semiring, name, x.data_ptr(), x.shape, x.stride())
                if memory not in parts:
                    parts[memory] = accumulator.part(algebra, classes.to(x.device), self.classes, x)
                self.states[key] = add_part(self.states[key], parts[memory])

    def __add__(self, other: Tally) -> Tally:
        """Return the tally of the examples of both, in this order. Raises `OptionError` for other questions.

        A tally without tensors is of a process that got no batch, and does not know what others saw.
        """
        if (
            [*self.semirings] == [*other.semirings]
            and self.folds == other.folds
            and not (self.tensors and other.tensors)
        ):
            return self if self.tensors else other
        mine, theirs = ([list(one.semirings), one.tensors, one.folds, one.classes] for one in (self, other))
        if mine != theirs:
            raise OptionError(f"tallies of different questions cannot be joined: {mine} and {theirs}.")
        found = self.empty()
        found.examples = self.examples + other.examples
        for key in dict.fromkeys((*self.states, *other.states)):
            parts = [one.states[key] for one in (self, other) if key in one.states]
            join = ACCUMULATORS[key[2]].join
            found.states[key] = parts[0] if len(parts) == 1 else join(self.semirings[key[0]], parts[0], parts[1])
        return found

    @property
    def accumulators(self) -> tuple[str, ...]:
        """The accumulators that the folds read, each once."""
        return tuple(dict.fromkeys(name for fold in self.folds for name in FOLDS[fold].accumulators))

    # -- asking --------------------------------------------------------------------------------------------------------

    def __getitem__(self, fold: str) -> Tensor:
        """Return a fold over all examples, where there is one semiring and one tensor."""
        return self.of(fold)

    def of(
        self, fold: str, semiring: str | None = None, at: str | None = None, label: int | Iterable[int] | None = None
    ) -> Tensor:
        """Return a fold of one semiring's relevance at one tensor: [*neurons, *element].

        label   a class, several, or None for all examples.
        Raises: `UnknownNameError`; `OptionError` where the semiring or the tensor is not clear, or no example is there.
        """
        if fold not in self.folds:
            raise UnknownNameError(f"the sweep did not fold by {fold!r}; it did by {', '.join(self.folds)}.")
        semiring, at = _one("semiring", semiring, self.semirings), _one("at", at, self.tensors)
        rows = self._rows(label)
        examples = int(self.examples[rows].sum())
        if examples == 0 and not FOLDS[fold].of_none:
            raise OptionError(f"no example of {_named(label)} was seen, so there is no {FOLDS[fold].meaning}.")
        parts = tuple(self._joined(semiring, at, name, rows) for name in FOLDS[fold].accumulators)
        return FOLDS[fold].show(parts, examples)

    def quantile(self, q: float, semiring: str | None = None, at: str | None = None, label: Any = None) -> Tensor:
        """Return each neuron's quantile over examples, at most 5 % off. Needs the fold "quantiles".

        q   from 0 to 1.   semiring, at, label   as of `of`.
        """
        return quantile_of(self.of("quantiles", semiring, at, label), q)

    def by_class(self, fold: str, semiring: str | None = None, at: str | None = None) -> Tensor:
        """Return a fold of each class: [classes, *neurons]. Raises: as `of`, for an empty class too.

        semiring, at   as of `of`.
        """
        return torch.stack([self.of(fold, semiring, at, label) for label in range(self.classes)])

    def _rows(self, label: int | Iterable[int] | None) -> list[int]:
        wanted = range(self.classes) if label is None else [label] if isinstance(label, int) else list(label)
        for one in wanted:
            if not 0 <= one < self.classes:
                raise OptionError(f"label={one}: the sweep kept {self.classes} classes apart, from 0.")
        return list(wanted)

    def _joined(self, semiring: str, at: str, accumulator: str, rows: list[int]) -> Tensor:
        state = self.states.get((semiring, at, accumulator))
        if state is None:
            raise OptionError("the tally is empty: no example was added.")
        found = state[rows[0]]
        for row in rows[1:]:
            found = ACCUMULATORS[accumulator].join(self.semirings[semiring], found, state[row])
        return found

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write the tally to one file: safetensors with JSON in its header, no pickle. Raises `OutputError`.

        path   of the file.
        """
        write_tensors(path, self.plain(), self.tensors_by_name())

    @classmethod
    def load(cls, path: str | PathLike[str], semirings: Iterable[Semiring] = ()) -> Tally:
        """Read a tally back. `semirings`: those that are not registered, which are known by name.

        path   of the file.
        Raises: `FileFormatError` for a file of another kind, or one that was cut or changed.
        """
        return cls.from_plain(*read_tensors(path), {one.name: one for one in semirings}, str(path))

    def plain(self) -> dict[str, Any]:
        """Return all but the tensors as plain data."""
        return {
            "semirings": list(self.semirings),
            "tensors": list(self.tensors),
            "folds": list(self.folds),
            "classes": self.classes,
            "settings": dict(self.settings),
            "keys": [list(key) for key in self.states],
        }

    def tensors_by_name(self) -> dict[str, Tensor]:
        """Return the tensors by the names that they have in a file."""
        return {"examples": self.examples} | {str(n): state for n, state in enumerate(self.states.values())}

    @classmethod
    def from_plain(
        cls, plain: Mapping[str, Any], tensors: Mapping[str, Tensor], known: Mapping[str, Semiring], where: str
    ) -> Tally:
        """Return the tally that `plain` and `tensors_by_name` describe. Raises `FileFormatError`.

        tensors   by name.   known   semirings of one's own, by name.   where   the file's name, for errors.
        """
        try:
            semirings = {label: semiring_of(label, known) for label in plain["semirings"]}
            found = cls(
                semirings, tuple(plain["tensors"]), tuple(plain["folds"]), int(plain["classes"]), plain["settings"]
            )
            found.examples = tensors["examples"]
            keys = [(str(a), str(b), str(c)) for a, b, c in plain["keys"]]
            found.states = {key: tensors[str(n)] for n, key in enumerate(keys)}
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{where} is no tally, or lacks a part of it ({error}). Sweep again.") from error
        found.check(where)
        return found

    def check(self, where: str) -> None:
        """Raise `FileFormatError` if the parts do not fit together.

        where   the file's name, for errors.
        """
        known = {(s, t, a) for s in self.semirings for t in self.tensors for a in self.accumulators}
        rows = {len(state) if state.dim() else -1 for state in (self.examples, *self.states.values())}
        unknown = set(self.folds) - set(FOLDS)
        if unknown or rows != {self.classes} or not known.issuperset(self.states) or self.examples.dim() != 1:
            raise FileFormatError(f"{where} is no tally: its parts do not fit together. Sweep again.")

    def __repr__(self) -> str:
        classes = "" if self.classes == 1 else f" in {self.classes} classes"
        return (
            f"Tally({int(self.examples.sum())} examples{classes}; {', '.join(self.semirings)} at "
            f"{', '.join(self.tensors)}; {', '.join(self.folds)})"
        )


def _one(what: str, given: str | None, known: Iterable[str]) -> str:
    names = list(known)
    if given is None and len(names) == 1:
        return names[0]
    if given not in names:
        raise OptionError(f"{what}={given!r}: the sweep has {', '.join(names)}; say which.")
    return given


def _named(label: Any) -> str:
    return "any class" if label is None else f"class {label}" if isinstance(label, int) else f"the classes {label}"


def semiring_of(label: str, known: Mapping[str, Semiring]) -> Semiring:
    """Return the semiring behind a label: "boolean#1" is a boolean."""
    name = label.partition("#")[0]
    return known[name] if name in known else get_semiring(name)
