"""A contraction folds a block's edges into one end of each, by a compiled kernel: no tile of edges is ever stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.geometry import Geometry

Direction = Literal["pull", "push"]


@dataclass(frozen=True, eq=False)
class Operands:
    """What a contraction reads. `pull`: near ends are the block's inputs, far ends its outputs; `push`: the reverse.

    weights    flat, in the wiring's order [groups, outputs' channels, inputs' channels, taps]
    scalars    for each of the body's s0, s1, s2: [batch, far neurons], of the weights' dtype or `dtype`
    reached    [batch, far neurons], bool: edges of other far ends are left out
    near       the body's a, [batch, near neurons], or None
    constants  the body's c0, c1
    zero       what v starts from; dtype: v's
    """

    geometry: Geometry
    direction: Direction
    weights: Tensor
    scalars: tuple[Tensor, ...]
    reached: Tensor
    near: Tensor | None = None
    constants: tuple[float, ...] = ()
    zero: float | int = 0
    dtype: torch.dtype = torch.float32


class Engine(Protocol):
    """A way to compile bodies: numba on a CPU, Triton on a GPU."""

    name: ClassVar[str]

    def takes(self, device: torch.device) -> bool:
        """Return whether it can run on tensors of a device, here and now."""
        ...

    def least_passing(self, z: Tensor, reached: Tensor, theta: float, strict: bool) -> Tensor:
        """Return `torch_backend.least_passing` of |z| where `reached`, of the shape of z; elsewhere anything."""
        ...

    def contract(self, body: Body, operands: Operands) -> Tensor:
        """Return v of every near end, [batch, near neurons]."""
        ...

    def in_registers(self, body: Body, operands: Operands, folds: int = 1) -> Tensor | None:
        """Return the same where edges are dense and enough far ends are reached, None elsewhere.

        A body may then take more operations an edge, for each costs less: routes ask before they fold twice, or
        `folds` times.
        """
        ...
