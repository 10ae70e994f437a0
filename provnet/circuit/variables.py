"""The variables of a circuit as columns: 265,300 edges of a small perceptron are no Python objects until looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import overload

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import Neuron, Variable
from provnet.errors import UnknownNameError


@dataclass(frozen=True)
class Place:
    """A tensor as names of variables need it: its path, and its shape without the examples' axis."""

    path: str
    shape: tuple[int, ...]

    @cached_property
    def size(self) -> int:
        return prod(self.shape)

    @cached_property
    def _neurons(self) -> dict[int, Neuron]:
        return {}

    def neuron(self, index: int) -> Neuron:
        """Return the neuron with the row-major number `index`. It is made once: many edges ask for it."""
        if index in self._neurons:
            return self._neurons[index]
        if not 0 <= index < self.size:
            raise IndexError(f"neuron {index} of {self.size} in {self.path!r}")
        axes, rest = [], index
        for size in reversed(self.shape):
            rest, place = divmod(rest, size)
            axes.append(int(place))
        self._neurons[index] = Neuron(self.path, tuple(reversed(axes)))
        return self._neurons[index]


@dataclass(frozen=True, eq=False)
class EdgeSegment:
    """The variables of one block's edges, in the order (output, slot). The bias is the slot `fan`, its source is -1.

    output, slot  [variables], what `wiring.source` takes;  source  [variables], over the concatenation of the inputs
    """

    block: int
    path: str
    target: Place
    inputs: tuple[Place, ...]
    fan: int
    output: NDArray[np.int64]
    slot: NDArray[np.int64]
    source: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.output)

    def split(self, source: int) -> tuple[int, int]:
        """Return (which input, index in it) of a number over the concatenation of the inputs."""
        for number, place in enumerate(self.inputs):
            if source < place.size:
                return number, source
            source -= place.size
        raise IndexError(source)

    def variable(self, at: int) -> Variable:
        """Return the variable in row `at`."""
        output, slot, source = int(self.output[at]), int(self.slot[at]), int(self.source[at])
        target, feed, tail = self.target.neuron(output), None, "bias]"
        if source >= 0:
            number, index = self.split(source)
            feed = self.inputs[number].neuron(index)
            tail = self._fed_by(number, feed)
        return Variable(self._fed(target) + tail, self.path, feed, target, (self.block, output, slot))

    def names(self) -> list[str]:
        """Return all names, in order. Neurons are written once each, not once an edge."""
        outputs, head = np.unique(self.output, return_inverse=True)
        sources, tail = np.unique(self.source, return_inverse=True)
        heads = [self._fed(self.target.neuron(output)) for output in outputs.tolist()]
        tails = list(map(self._tail, sources.tolist()))
        return [heads[i] + tails[j] for i, j in zip(head.tolist(), tail.tolist(), strict=True)]

    def _fed(self, target: Neuron) -> str:
        return f"{self.path}[{target.numbers}<-"

    def _tail(self, source: int) -> str:
        if source < 0:
            return "bias]"
        number, index = self.split(source)
        return self._fed_by(number, self.inputs[number].neuron(index))

    def _fed_by(self, number: int, feed: Neuron) -> str:
        if len(self.inputs) == 1:
            return f"{feed.numbers}]"
        # x + x has two edges between the same two neurons: only their places as operands tell them apart.
        repeated = self.inputs.count(self.inputs[number]) > 1
        which = f"{number}:" if repeated else ""
        return f"{which}{feed.path}[{feed.numbers}]]"


@dataclass(frozen=True, eq=False)
class PatternSegment:
    """Variables of a coarser grain: `pattern` with the numbers of a row of `index` [variables, numbers] filled in.

    `place` is given where the row is the neuron that the variable belongs to (grain `source`).
    """

    pattern: str
    index: NDArray[np.int64]
    path: str
    place: Place | None = None

    def __len__(self) -> int:
        return len(self.index)

    def variable(self, at: int) -> Variable:
        """Return the variable in row `at`."""
        row = tuple(int(i) for i in self.index[at])
        source = Neuron(self.place.path, row) if self.place else None
        return Variable(self.pattern.format(*row), self.path, source, None, row)

    def names(self) -> list[str]:
        """Return all names, in order."""
        return [self.pattern.format(*row) for row in self.index.tolist()]


@dataclass(frozen=True, eq=False)
class VariableTable(Sequence[Variable]):
    """A sequence of variables that makes them when asked. `segments` follow one another; `grain` is theirs."""

    segments: tuple[EdgeSegment | PatternSegment, ...]
    grain: str = "edge"

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The number of each segment's first variable, and at the end the number of all."""
        return np.cumsum([0, *map(len, self.segments)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @overload
    def __getitem__(self, at: int) -> Variable: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Variable]: ...
    def __getitem__(self, at: int | slice) -> Variable | Sequence[Variable]:
        if isinstance(at, slice):
            return tuple(self[i] for i in range(*at.indices(len(self))))
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(f"variable {at} of {len(self)}")
        segment = int(np.searchsorted(self.starts, number, side="right")) - 1
        return self.segments[segment].variable(number - int(self.starts[segment]))

    def __iter__(self) -> Iterator[Variable]:
        for segment in self.segments:
            for at in range(len(segment)):
                yield segment.variable(at)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, in order. Made on the first call: some 0.3 microseconds each."""
        return tuple(name for segment in self.segments for name in segment.names())

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Name -> number."""
        return {name: number for number, name in enumerate(self.names)}


def names_of(variables: Sequence[Variable]) -> tuple[str, ...]:
    """Return the variables' names, in order."""
    return variables.names if isinstance(variables, VariableTable) else tuple(v.name for v in variables)


def numbers_of(variables: Sequence[Variable]) -> dict[str, int]:
    """Return a mapping name -> number of the variables."""
    if isinstance(variables, VariableTable):
        return variables.numbers
    return {name: number for number, name in enumerate(names_of(variables))}


def find_variable(variables: Sequence[Variable], wanted: Variable | str) -> int:
    """Return the number of a variable or name. Raises `UnknownNameError` if there is none."""
    number = numbers_of(variables).get(str(wanted))
    if number is None:
        raise UnknownNameError(
            f"no variable is called {str(wanted)!r}; the circuit has {len(variables)}, "
            f"such as {', '.join(v.name for v in variables[:3])}. Its `variables` list them all."
        )
    return number
