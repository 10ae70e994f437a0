"""Dense edges most of which are alive, folded in registers: what a matrix product does, for any ⊕ and ⊗ of a body.

Lists of reached far ends (see `numba_engine`) save the edges of those that are not; where most are, a weight that is
read once for several rows saves more. Far ends that are not reached get numbers with which an update gives the fold
back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from provnet.torch_backend.contractions.base import Operands
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.geometry import Geometry
from provnet.torch_backend.contractions.machine_code import Compiled, available, vector_bytes
from provnet.torch_backend.contractions.panel_source import SCALARS, PanelShape, program, shape_of
from provnet.torch_backend.contractions.vector_lines import is_written
from provnet.torch_backend.contractions.workers import Task, run

FEWEST_ROWS = 8
"""Fewer do not fill two groups of rows."""
NARROWEST = 16
"""Fewer near ends do not fill a panel."""
ALIVE = 0.4
"""The part of far ends from which on lists of them cost more than they save."""
SMALL_GROUPS = 1 << 14
"""Edges of a group below which calling a program for each costs more than it saves."""
ALONE = 1 << 21
"""Edges below which threads cost more than they save."""

Types = tuple[tuple[str, torch.dtype], ...]


def contract(body: Body, operands: Operands, types: Types, folds: int = 1) -> Tensor | None:
    """Return v of every near end, [batch, near neurons], as an engine does; None where panels do not serve, or lists
    take less though they are folded `folds` times."""
    shape = _Shape.of(operands)
    if shape is None or not _serves(body, types):
        return None
    if shape.rows < FEWEST_ROWS or shape.near < NARROWEST:
        return None
    if shape.groups > 1 and shape.rows * shape.near * shape.far < SMALL_GROUPS:
        return None
    alive = int(operands.reached.count_nonzero())
    if alive < operands.reached.numel() and (
        body.unreached is None or alive * folds < ALIVE * operands.reached.numel()
    ):
        return None
    return _Fold(body, operands, types, shape).run()


@lru_cache(maxsize=256)
def _serves(body: Body, types: Types) -> bool:
    """Return whether a program of the body can be made here."""
    return available() and is_written(body, dict(types))


class _Shape:
    """An operand as matrices side by side: [groups, rows, near] from [groups, rows, far] and weights [groups, far,
    near]."""

    def __init__(self, geometry: Geometry, batch: int, pull: bool) -> None:
        g = geometry
        self.batch, self.groups, self.places = batch * g.per_example, g.groups, g.places
        self.near, self.far = (g.near, g.far) if pull else (g.far, g.near)
        self.rows = self.batch * self.places
        # Weights lie as [groups, far, near] of the block's outputs and inputs, whichever way one looks.
        self.far_step, self.near_step = (self.near, 1) if pull else (1, self.far)

    @staticmethod
    def of(operands: Operands) -> _Shape | None:
        """Return it for a dense layer, and for a convolution whose kernel is one place and leaves none out."""
        g = operands.geometry
        c = g.convolution
        if c is not None and not (g.taps == 1 and c.source_shape == c.target_shape and not any(c.padding)):
            return None
        return _Shape(g, len(operands.reached), operands.direction == "pull")

    def forth(self, x: Tensor, ends: int) -> Tensor:
        """Return numbers of ends [batch, groups, ends, places] as [groups, rows, ends]."""
        return x.reshape(self.batch, self.groups, ends, self.places).permute(1, 0, 3, 2).reshape(self.groups, -1, ends)

    def as_read(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return numbers of far ends as [groups, rows, far] or [groups, far, rows], in memory side by side, and the
        steps to the next row and far end: as they lie, if they do."""
        if self.places == 1 and self.groups == 1:
            return x.contiguous(), (self.far, 1)
        if self.batch == 1:
            return x.contiguous(), (1, self.rows)
        return self.forth(x, self.far).contiguous(), (self.far, 1)

    def back(self, x: Tensor, batch: int) -> Tensor:
        """Return [groups, rows, near] as [batch, near neurons]."""
        return x.reshape(self.groups, self.batch, self.places, self.near).permute(1, 0, 3, 2).reshape(batch, -1)


class _Fold:
    """One contraction under way."""

    def __init__(self, body: Body, operands: Operands, types: Types, shape: _Shape) -> None:
        self.body, self.operands, self.shape = body, operands, shape
        self.types = dict(types)
        self.panel, self.kernel = _kernel(body, types)
        self.groups = -(-shape.rows // self.panel.rows)
        self.panels = -(-shape.near // self.panel.width)
        self.across = self.panels * self.panel.width

    def run(self) -> Tensor:
        shape, given = self.shape, self.operands
        weights = given.weights.detach().contiguous()
        scalars = [self._scalars(number) for number in range(self.body.scalars)]
        near = None
        if self.body.near:
            assert given.near is not None, "the body has a name for it"
            near = self._padded(shape.forth(given.near.detach(), shape.near))
        size = (shape.groups, self.groups * self.panel.rows, self.across)
        out = torch.full(size, given.zero, dtype=given.dtype)
        constants = (*given.constants, 0.0, 0.0)[:2]
        edges = shape.groups * shape.rows * shape.near * shape.far
        run(self._tasks(weights, scalars, near, out, constants), alone=edges <= ALONE)
        return shape.back(out[:, : shape.rows, : shape.near], len(given.reached))

    def _tasks(
        self, weights: Tensor, scalars: list[Tensor], near: Tensor | None, out: Tensor, constants: tuple[float, ...]
    ) -> Iterator[Task]:
        shape, pieces = self.shape, max(1, 4 * torch.get_num_threads() // self.shape.groups)
        step = -(-self.panels // pieces)
        for group in range(shape.groups):
            at = [x[group].data_ptr() for x in (*scalars, scalars[0], scalars[0])[:3]]
            read = weights.data_ptr() + group * shape.near * shape.far * weights.element_size()
            ends = (0 if near is None else near[group].data_ptr(), out[group].data_ptr(), self.across)
            steps = (shape.far_step, shape.near_step, shape.far, shape.near)
            for first in range(0, self.panels, step):
                arguments = (read, *steps, first, min(first + step, self.panels), *at, self.groups, *ends, *constants)
                yield lambda arguments=arguments: self.kernel.fold(*arguments)

    def _scalars(self, number: int) -> Tensor:
        """Return what stands at far ends, [groups, groups of rows, far, rows of a group]."""
        shape, given = self.shape, self.operands
        x, (row_step, far_step) = shape.as_read(given.scalars[number].detach())
        reached, _ = shape.as_read(given.reached)
        fill = 0 if self.body.unreached is None else self.body.unreached[number]
        out = torch.empty((shape.groups, self.groups, shape.far, self.panel.rows), dtype=x.dtype)
        for group in range(shape.groups):
            at = group * shape.rows * shape.far
            ends = x.data_ptr() + at * x.element_size(), reached.data_ptr() + at
            self.kernel.lay(number, *ends, row_step, far_step, shape.rows, shape.far, fill, out[group].data_ptr())
        return out

    def _padded(self, x: Tensor) -> Tensor:
        """Return what stands at near ends, [groups, rows, across], as the folds lie."""
        more = (0, self.across - self.shape.near, 0, self.groups * self.panel.rows - self.shape.rows)
        return torch.nn.functional.pad(x, more) if any(more) else x.contiguous()


@lru_cache(maxsize=64)
def _kernel(body: Body, types: Types) -> tuple[PanelShape, _Kernel]:
    """Return the program of a body, compiled once a process."""
    panel = shape_of(body, dict(types), vector_bytes())
    return panel, _Kernel(Compiled(program(body, dict(types), panel, vector_bytes())), body, dict(types))


class _Kernel:
    """The compiled program, called through ctypes: addresses and sizes are not checked."""

    def __init__(self, compiled: Compiled, body: Body, types: dict[str, torch.dtype]) -> None:
        at, size, constant = ctypes.c_void_p, ctypes.c_int64, C_TYPES[types["w"]]
        fold = (at, *[size] * 6, at, at, at, size, at, at, size, constant, constant)
        self.fold = compiled.function("fold", *fold)
        names = SCALARS[: body.scalars]
        self.lays = [compiled.function(f"lay.{name}", at, at, *[size] * 4, C_TYPES[types[name]], at) for name in names]

    def lay(self, number: int, *arguments: float) -> None:
        """Lay out the scalars of one number."""
        self.lays[number](*arguments)


C_TYPES = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double, torch.int64: ctypes.c_int64}
