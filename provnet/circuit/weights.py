"""What stands on the edges of an operand: one small class a kind of weight, all plain data.

`wiring.source(output, slot)` gives the index of a weight; a weight says what lies at that index. What can be computed
with a kind of weight is the backend's to know (`torch_backend/blocks/weight_factors.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from provnet.circuit.deferred import deferrable

Handle = Any
"""A tensor that this room only passes on."""

Memory = tuple[str, int, tuple[int, ...], tuple[int, ...]]
"""(name of the model's tensor, offset in it, shape, strides in elements): the entries that a view of it shows."""


@dataclass(frozen=True, eq=False)
class Weight:
    """The base."""

    by_example: ClassVar[bool] = False
    """Whether every example has weights of its own."""

    ones: ClassVar[bool] = False
    """Whether every weight is one."""

    derivative: ClassVar[bool] = False
    """Whether it is an op's derivative where it was recorded: a masked score, -inf, has no contribution then."""

    @property
    def stored(self) -> Stored | None:
        """Itself, if it is one tensor that all examples share."""
        return None

    @property
    def partner(self) -> int | None:
        """The activation whose neurons the weights are: the other factor of a product of two traced tensors."""
        return None

    def numbers(self, recorded: Callable[[int], Handle]) -> Handle:
        """Return the tensor in which weights are looked up, None where all are one. `recorded` gives an activation's.

        Raises: `TypeError` where weights are computed.
        """
        raise TypeError(f"weights of the kind {type(self).__name__} are computed")

    def columns(self, first: int, size: int) -> Weight:
        """Return the weights of some inputs of a dense map, whose values lie as [.., outputs, inputs]."""
        return self

    def with_handles(self, convert: Callable[[Handle], Handle]) -> Self:
        """Return the weight with each tensor that it holds replaced."""
        return self


@dataclass(frozen=True, eq=False)
class Ones(Weight):
    """Every weight is one: sums, poolings, index maps."""

    ones: ClassVar[bool] = True

    def numbers(self, recorded: Callable[[int], Handle]) -> None:
        return None


@dataclass(frozen=True, eq=False)
class TensorWeight(Weight):
    """The base of weights that are a tensor, `values`."""

    values: Handle = deferrable()  # noqa: RUF009  # a descriptor: instances share nothing

    def numbers(self, recorded: Callable[[int], Handle]) -> Handle:
        return self.values

    def columns(self, first: int, size: int) -> Weight:
        return type(self)(self.values[..., first : first + size])

    def with_handles(self, convert: Callable[[Handle], Handle]) -> Self:
        return replace(self, values=convert(self.values))


@dataclass(frozen=True, eq=False)
class Stored(TensorWeight):
    """A tensor that all examples share, flat after reshape(-1).

    memory   which entries of the model's tensor it shows, where it is a view of one: blocks that share weights,
             transposed or in part, share entries. None: it is a tensor of the block's own.
    """

    memory: Memory | None = None

    @property
    def stored(self) -> Stored:
        return self


@dataclass(frozen=True, eq=False)
class PerExample(TensorWeight):
    """A tensor [batch, ...] with weights of its own for every example."""

    by_example: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Partner(Weight):
    """The other factor of a product of two traced tensors: the activation `input`, its neurons row-major."""

    input: int

    by_example: ClassVar[bool] = True

    @property
    def partner(self) -> int:
        return self.input

    def numbers(self, recorded: Callable[[int], Handle]) -> Handle:
        return recorded(self.input)


@dataclass(frozen=True, eq=False)
class Centred(Weight):
    """(δ_jk - 1/n) γ_k within each group of n neurons: a mean is taken off, then each entry is scaled.

    gamma   [n] where all rows share it, or [rows, n]; None: ones. Weights lie as [rows or 1, k, j].
    size    n
    """

    gamma: Handle
    size: int

    def with_handles(self, convert: Callable[[Handle], Handle]) -> Self:
        return replace(self, gamma=convert(self.gamma))


@dataclass(frozen=True, eq=False)
class Jacobian(Weight):
    """The derivative ∂y_k / ∂x_j within each of `rows` rows, found by running the op again.

    input, output   the activations x and y, [rows / behind, n, behind] each
    call            how to run it. Weights lie as [rows, k, j].
    behind          how many rows lie side by side, where the op runs along an axis that is not the last
    """

    input: int
    output: int
    call: Any
    rows: int
    behind: int = 1

    by_example: ClassVar[bool] = True
    derivative: ClassVar[bool] = True

    def with_handles(self, convert: Callable[[Handle], Handle]) -> Self:
        return replace(self, call=self.call.with_handles(convert))


@dataclass(frozen=True, eq=False)
class Slope(Weight):
    """The derivative of a softmax, s_j (δ_ij - s_i) for each of its rows: `output` is the activation s.

    It lies as [rows / behind, size, behind], and weights as [rows, j, i]. Source: [AttnLRP] Proposition 3.1.
    """

    output: int
    size: int
    behind: int = 1

    by_example: ClassVar[bool] = True
    derivative: ClassVar[bool] = True
