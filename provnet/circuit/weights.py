"""What stands on the edges of an operand: one small class a kind of weight, all plain data.

`wiring.source(output, slot)` gives the index of a weight; a weight says what lies at that index. What can be computed
with a kind of weight is the backend's to know (`torch_backend/blocks/weight_factors.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from provnet.circuit.deferred import deferrable

Handle = Any
"""A tensor that this room only passes on."""

Memory = tuple[str, int, tuple[int, ...], tuple[int, ...]]
"""(name of the model's tensor, offset in it, shape, strides in elements): the entries that a view of it shows."""


@dataclass(frozen=True, eq=False)
class Weight:
    """The base. `by_example`: whether every example has weights of its own."""

    by_example: ClassVar[bool] = False


@dataclass(frozen=True, eq=False)
class Ones(Weight):
    """Every weight is one: sums, poolings, index maps."""


@dataclass(frozen=True, eq=False)
class Stored(Weight):
    """A tensor that all examples share, flat after reshape(-1).

    memory   which entries of the model's tensor it shows, where it is a view of one: blocks that share weights,
             transposed or in part, share entries. None: it is a tensor of the block's own.
    """

    values: Handle = deferrable()  # noqa: RUF009  # a descriptor: instances share nothing
    memory: Memory | None = None


@dataclass(frozen=True, eq=False)
class PerExample(Weight):
    """A tensor [batch, ...] with weights of its own for every example."""

    values: Handle = deferrable()  # noqa: RUF009

    by_example: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Partner(Weight):
    """The other factor of a product of two traced tensors: the activation `input`, its neurons row-major."""

    input: int

    by_example: ClassVar[bool] = True


@dataclass(frozen=True, eq=False)
class Centred(Weight):
    """(δ_jk - 1/n) γ_k within each group of n neurons: a mean is taken off, then each entry is scaled.

    gamma   [n] where all rows share it, or [rows, n]; None: ones. Weights lie as [rows or 1, k, j].
    size    n
    """

    gamma: Handle
    size: int


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


@dataclass(frozen=True, eq=False)
class Slope(Weight):
    """The derivative of a softmax, s_j (δ_ij - s_i) for each of its rows: `output` is the activation s.

    It lies as [rows / behind, size, behind], and weights as [rows, j, i]. Source: [AttnLRP] Proposition 3.1.
    """

    output: int
    size: int
    behind: int = 1

    by_example: ClassVar[bool] = True
