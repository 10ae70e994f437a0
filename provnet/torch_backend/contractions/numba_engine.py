"""Contractions on a CPU by numba: unreached far ends are skipped, weights lie so that channels fill vectors."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.torch_backend.contractions import panels
from provnet.torch_backend.contractions.base import Operands
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.contraction_memory import room
from provnet.torch_backend.contractions.least_passing import least_passing
from provnet.torch_backend.contractions.least_program import least
from provnet.torch_backend.contractions.living_lists import ListProgram
from provnet.torch_backend.contractions.machine_code import available
from provnet.torch_backend.contractions.numba_source import Types, kernels
from provnet.torch_backend.contractions.workers import Task, run

Array = NDArray[Any]

WIDTH = 256
"""Channels that are folded side by side: a row of them stays in the first-level cache."""
BLOCK = 64
"""Far ends whose weights stay in the second-level cache while places pass by."""
PLACES = 256
"""Near places in a task: with WIDTH channels of four bytes, a quarter of a second-level cache."""
NARROW = 16
"""Fewer near channels do not fill vectors: taps lie beside them, and are joined at the end."""
FEW_ROWS = 8
"""A dense layer asked by fewer examples is read as it lies, for each weight is used so seldom."""
LISTED = 1 << 26
"""Bytes that lists of reached far ends may take: examples are taken in turns."""
SMALL_GROUP = 1 << 17
"""Edges of a group, one example's, up to which packing and listing it costs more than they save."""
SMALL = 1 << 21
"""Edges below which threads cost more than they save."""

NUMBA = importlib.util.find_spec("numba") is not None and importlib.util.find_spec("platformdirs") is not None


class NumbaEngine:
    """Memory: a copy of a layer's packed weights (none of a dense layer that few examples ask), 64 MB of lists."""

    name: ClassVar[str] = "numba"

    def takes(self, device: torch.device) -> bool:
        return NUMBA and device.type == "cpu"

    def least_passing(self, z: Tensor, reached: Tensor, theta: float, strict: bool) -> Tensor:
        """Return `least_passing` of |z| where `reached`, of the shape of z; elsewhere anything."""
        if not available():
            return least_passing(torch.where(reached, z.abs(), torch.ones((), dtype=z.dtype)), theta, strict)
        kernel, width = least(z.dtype, strict)
        size = -(-z.numel() // width) * width
        read = torch.nn.functional.pad(z.reshape(-1), (0, size - z.numel())) if size > z.numel() else z.contiguous()
        out = torch.empty(size, dtype=z.dtype)
        ends = read.data_ptr(), theta, 1 if theta > 0 else -1, out.data_ptr()
        step = -(-max(1 << 14, -(-size // 8)) // width) * width
        run(lambda span=span: kernel(span[0], span[1], *ends) for span in _spans(size, step))
        return out[: z.numel()].reshape(z.shape)

    def contract(self, body: Body, operands: Operands) -> Tensor:
        """Return v of every near end, [batch, near neurons]."""
        found = self.in_registers(body, operands)
        if found is not None:
            return found
        batch = len(operands.reached)
        g = operands.geometry
        pull = operands.direction == "pull"
        near = g.groups * (g.near * g.places if pull else g.far * g.positions) * g.per_example
        out = torch.full((batch, near), operands.zero, dtype=operands.dtype)
        if out.numel() and operands.reached.numel():
            call = _Call(body, operands, out)
            call.run()
        return out

    def in_registers(self, body: Body, operands: Operands, folds: int = 1) -> Tensor | None:
        """Return what `contract` does, by `panels`; None where they do not serve, and lists of far ends are better."""
        return panels.contract(body, operands, _types(operands), folds)


@dataclass(eq=False)
class _Call:
    """One contraction under way."""

    body: Body
    operands: Operands
    result: Tensor

    def __post_init__(self) -> None:
        g, self.pull = self.operands.geometry, self.operands.direction == "pull"
        self.kernels: ModuleType = kernels(self.body, _types(self.operands))
        self.rows = len(self.operands.reached) * g.per_example
        self.groups, self.taps = g.groups, g.taps
        self.near, self.far = (g.near, g.far) if self.pull else (g.far, g.near)
        self.places, self.positions = (g.places, g.positions) if self.pull else (g.positions, g.places)
        self.table = g.pulling() if self.pull else g.pushing()
        self.weights = _flat(self.operands.weights)
        self.reached = _flat(self.operands.reached).view(np.uint8)
        scalars = [_flat(s) for s in self.operands.scalars]
        self.s0, self.s1 = scalars[0], scalars[-1]
        self.uses_a = self.body.near and self.operands.near is not None
        self.a = _flat(self.operands.near) if self.operands.near is not None else self.weights[:1]
        self.out = self.result.numpy().reshape(-1)
        constants = (*self.operands.constants, 0.0, 0.0)[:2]
        self.constants = tuple(self.weights.dtype.type(c) for c in constants)
        self.zero = self.out.dtype.type(self.operands.zero)

    @property
    def edges(self) -> int:
        """Edges at most."""
        return self.rows * self.groups * self.near * self.far * self.taps * min(self.places, self.positions)

    def run(self) -> None:
        few = self.operands.geometry.convolution is None and self.rows < FEW_ROWS
        if few and not self.pull and self.body.join is not None:
            return self._run(self._whole_rows())
        if self.groups > 1 and self.edges <= SMALL_GROUP * self.groups * self.rows:
            return self._run(self._apart())
        narrow = self.near < NARROW and self.taps > 1 and self.body.join is not None
        found = ListProgram.of(self.body, _types(self.operands), self.near, self.far, self.places)
        for group in range(self.groups):
            if found is not None:
                self._in_panels(group, found)
                continue
            weights = self._as_they_lie() if few and self.pull else self._packed(group, by_tap=not narrow)
            for first, last in self._turns():
                lists = self._lists(group, first, last)
                if narrow:
                    self._spread(group, first, last, weights.values, lists)
                else:
                    self._run(self._tasks(group, first, last, weights, lists))
        return None

    def _turns(self) -> Iterator[tuple[int, int]]:
        """Cut the rows so that the lists of each part have room."""
        return _spans(self.rows, max(1, LISTED // (self.positions * self.far * (8 + 2 * self.s0.itemsize))))

    def _in_panels(self, group: int, found: ListProgram) -> None:
        """Fold a group by a compiled program."""
        weights = room("weights", self.weights.dtype, found.panels, self.taps, self.far, found.width)
        steps = (self.near * self.taps, self.taps) if self.pull else (self.taps, self.far * self.taps)
        read = self.weights[group * self.far * self.near * self.taps :].ctypes.data

        def pack(first: int, last: int) -> Task:
            sizes = (first, last, self.far, self.near, self.taps, *steps)
            return lambda: found.pack(*sizes, read, weights.ctypes.data)

        self._run(pack(*span) for span in _spans(self.far, 16))
        for first, last in self._turns():
            lists = self._lists(group, first, last)
            self._run(self._panel_tasks(group, first, last, found, weights, lists))

    def _panel_tasks(
        self, group: int, first: int, last: int, found: ListProgram, weights: Array, lists: _Lists
    ) -> Iterator[Task]:
        tiles, row_step = found.tiles(self.places), self.groups * self.near * self.places
        ends = (self.table.ctypes.data, lists.starts.shape[1] - 1, self.far, *(x.ctypes.data for x in lists.arrays))
        sizes = (tiles, self.places, self.positions, self.taps)
        for panel in range(found.panels):
            channel = panel * found.width
            at = first * row_step + (group * self.near + channel) * self.places
            near, into = (self.a[at:] if self.uses_a else self.a).ctypes.data, self.out[at:].ctypes.data
            wide = min(found.width, self.near - channel)
            rest = (*sizes, *ends, weights[panel].ctypes.data, wide, row_step, near, into)
            for span in self._shares((last - first) * tiles, 1):
                yield self._panel_task(found, span, rest)

    def _panel_task(self, found: ListProgram, span: tuple[int, int], rest: tuple[int, ...]) -> Task:
        def task() -> None:
            # Rooms are a thread's own: these are fresh ones.
            v, near = found.scratch(self.out.dtype, "v"), found.scratch(self.a.dtype, "near")
            found.fold(*span, *rest, v.ctypes.data, near.ctypes.data, self.zero, *self.constants)

        return task

    def _run(self, tasks: Iterator[Task]) -> None:
        run(tasks, alone=self.edges <= SMALL)

    def _shares(self, size: int, step: int) -> Iterator[tuple[int, int]]:
        """Cut a range for the workers: a few pieces for each, none smaller than `step`."""
        pieces = 4 * torch.get_num_threads() if self.edges > SMALL else 1
        return _spans(size, max(step, -(-size // pieces)))

    # -- what is read --------------------------------------------------------------------------------------------------

    def _as_they_lie(self) -> _Weights:
        return _Weights(self.weights, 0, self.near, 1, min(2048, -(-self.near // torch.get_num_threads())))

    def _packed(self, group: int, by_tap: bool = True) -> _Weights:
        """Return a group's weights as [blocks of near, taps, far, width], or as [far, taps, near]."""
        size = self.far * self.near * self.taps
        out = room("weights", self.weights.dtype, size)
        at = group * size

        if not by_tap:
            order, ends = ((0, 2, 1), (self.far, self.near)) if self.pull else ((1, 2, 0), (self.near, self.far))
            lain = self.weights[at : at + size].reshape(*ends, self.taps)
            out.reshape(self.far, self.taps, self.near)[:] = lain.transpose(order)
            return _Weights(out, None, None, 0, self.near)

        def task(first: int, last: int) -> Task:
            return lambda: self.kernels.pack(
                first, last, self.far, self.near, self.taps, WIDTH, not self.pull, self.weights, at, out
            )

        self._run(task(first, last) for first, last in _spans(self.far, 16))
        return _Weights(out, None, None, self.taps * self.far, WIDTH)

    def _lists(self, group: int, first: int, last: int) -> _Lists:
        blocks = -(-self.far // BLOCK)
        listed = (last - first) * self.positions
        narrow = np.int16 if self.far < 1 << 15 else np.int32
        s0 = room("s0", self.s0.dtype, listed, self.far)
        lists = _Lists(
            room("starts", np.int32, listed, blocks + 1),
            room("index", narrow, listed, self.far),
            s0,
            room("s1", self.s1.dtype, listed, self.far) if self.body.scalars > 1 else s0,
        )

        step = self.groups * self.far * self.positions
        at = first * step + group * self.far * self.positions
        sizes, sources = (self.far, self.positions, BLOCK), (self.reached, self.s0, self.s1)

        def task(begin: int, end: int) -> Task:
            return lambda: self.kernels.compress(begin, end, at, step, *sizes, *sources, *lists.arrays)

        self._run(task(*span) for span in self._shares(listed, 128))
        return lists

    # -- what is done --------------------------------------------------------------------------------------------------

    def _tasks(self, group: int, first: int, last: int, weights: _Weights, lists: _Lists) -> Iterator[Task]:
        ends = (last - first) * self.places
        for channel in range(0, self.near, weights.width):
            width = min(weights.width, self.near - channel)
            at = ((first * self.groups + group) * self.near + channel) * self.places
            begin, tap_step, far_step = weights.of(channel, width, self.far)
            for span in self._shares(ends, PLACES // 4):
                yield self._task(span, lists, weights.values, begin, tap_step, far_step, width, at)

    def _task(
        self,
        span: tuple[int, int],
        lists: _Lists,
        weights: Array,
        begin: int,
        tap_step: int,
        far_step: int,
        width: int,
        at: int,
    ) -> Task:
        def task() -> None:
            # Rooms are a thread's own: these are fresh ones.
            v = room("v", self.out.dtype, min(PLACES, span[1] - span[0]) * width)
            near = room("near", self.a.dtype, len(v))
            self.kernels.contract(
                *span,
                PLACES,
                self.places,
                self.positions,
                self.table,
                *lists.arrays,
                weights,
                begin,
                tap_step,
                far_step,
                width,
                at,
                self.groups * self.near * self.places,
                self.a,
                self.uses_a,
                *self.constants,
                self.zero,
                self.out,
                v,
                near,
            )

        return task

    def _spread(self, group: int, first: int, last: int, weights: Array, lists: _Lists) -> None:
        """Fold a layer of few near channels, whose taps fill the vectors instead."""
        g, lanes, rows = self.operands.geometry, self.taps * self.near, last - first
        back = g.pushing() if self.pull else g.pulling()
        at = (first * self.groups + group) * self.near * self.places
        row_step = self.groups * self.near * self.places
        v = room("columns", self.out.dtype, rows * self.positions, lanes)
        shape, ends = (self.places, self.positions), (self.zero, v)
        edges = (back, *lists.arrays, weights, lanes, at, row_step, self.a, self.uses_a, *self.constants)

        def spread(begin: int, end: int) -> Task:
            return lambda: self.kernels.spread(begin, end, *shape, *edges, *ends)

        def gather(begin: int, end: int) -> Task:
            return lambda: self.kernels.gather(begin, end, *shape, self.table, at, row_step, *ends, self.out)

        self._run(spread(*span) for span in self._shares(rows * self.positions, 128))
        self._run(gather(*span) for span in self._shares(rows * self.places, 512))

    def _apart(self) -> Iterator[Task]:
        """Yield tasks of whole groups, which are too many and too small to be packed and listed one by one."""
        ends = (self.groups, self.near, self.far, self.places, self.positions)
        steps = (self.taps, self.near * self.taps) if self.pull else (self.far * self.taps, self.taps)
        rest = (ends, self.table, steps, self.weights, self.reached, self.s0, self.s1, self.a, self.uses_a)
        for span in self._shares(self.rows * self.groups, 1):
            yield lambda span=span: self.kernels.apart(*span, *rest, *self.constants, self.zero, self.out)

    def _whole_rows(self) -> Iterator[Task]:
        for first, last in _spans(self.near, 64):
            lanes = np.empty(128, self.out.dtype)
            yield lambda first=first, last=last, lanes=lanes: self.kernels.rows(
                first,
                last,
                self.rows,
                self.far,
                self.near,
                self.weights,
                self.reached,
                self.s0,
                self.s1,
                self.a,
                self.uses_a,
                *self.constants,
                self.zero,
                self.out,
                lanes,
            )


def _flat(x: Tensor) -> Array:
    return x.detach().contiguous().reshape(-1).numpy()


def _types(operands: Operands) -> Types:
    """Return the types of the body's names."""
    weight, scalars = operands.weights.dtype, [s.dtype for s in operands.scalars]
    near = weight if operands.near is None else operands.near.dtype
    types = {"v": operands.dtype, "a": near, "w": weight, "s0": scalars[0], "s1": scalars[min(1, len(scalars) - 1)]}
    types |= {"s2": scalars[2]} if len(scalars) > 2 else {}
    return tuple((types | {"c0": weight, "c1": weight}).items())


@dataclass(frozen=True, eq=False)
class _Lists:
    """Living far ends of each position: [listed, blocks + 1], and [listed, far] each."""

    starts: Array
    index: Array
    s0: Array
    s1: Array

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        return self.starts, self.index, self.s0, self.s1


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights and how to find a row of `width` channels: as they lie (`far_step` says how), or packed (None)."""

    values: Array
    tap_step: int | None
    far_step: int | None
    rows: int
    width: int

    def of(self, channel: int, width: int, far: int) -> tuple[int, int, int]:
        """Return where the channels from `channel` on begin, and the steps to the next tap and the next far end."""
        if self.far_step is not None and self.tap_step is not None:
            return channel, self.tap_step, self.far_step
        return channel * self.rows, far * width, width


def _spans(size: int, step: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + step, size)) for first in range(0, size, step))


ENGINE = NumbaEngine()
