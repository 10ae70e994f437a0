"""Recorded values that are not kept but made again, a stretch of ops at a time, from those that are.

The recorded ops are run again, and not the model: they are the execution itself, whatever control flow, hooks or state
led to them, and any stretch of them can be run alone. At the start each value that is to be dropped is made once and
held against the recorded one; if a single bit or stride differs, it is kept.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor

from provnet.capture.execution import Execution, TracedOp
from provnet.capture.replay import results_of
from provnet.capture.segments import Life, choose_cuts, crossing_values
from provnet.errors import StaleCircuitError


class Lean:
    """The values of an execution, most of them made again when asked for.

    `kept` are the sources, the outputs, what crosses from one stretch of ops to the next, what whole modules and
    random ops gave, and what a second run gave otherwise. Of the rest one stretch at a time is held, the last asked
    for, until `release`; each thread holds its own. Memory: `kept` and the largest stretch a thread; see
    `provnet.capture.segments`.
    """

    def __init__(self, execution: Execution, together: Iterable[Sequence[int]]) -> None:
        """`together`: values that are asked for at one time, the last made of them last; no others can be asked for."""
        self._ops: tuple[TracedOp, ...] = execution.ops
        self._maker = {v: op.index for op in execution.ops for v in op.outputs if v is not None}
        self._settings = _settings()
        self._dtypes = {value: execution.values[value].tensor.dtype for value in self._maker}
        groups = [[value for value in group if value in self._maker] for group in together]
        self._asked = {value for group in groups for value in group}
        self._constants = _constants(execution, self._maker)
        lives = self._lives(execution, groups)
        self._cuts = choose_cuts(len(self._ops), lives)
        keep = set(execution.sources.values()) | set(execution.outputs.values()) | crossing_values(self._cuts, lives)
        keep |= {v for op in self._ops if op.index in execution.opaque for v in op.outputs if v is not None}
        read = {value for op in self._ops for value in op.reads}
        self.kept: dict[int, Tensor] = {
            value: execution.values[value].tensor if value in read else _by_itself(execution.values[value].tensor)
            for value in keep
        }
        self._thread = _Thread()
        for stretch in range(len(self._cuts) + 1):
            self._make(stretch, execution)

    def _lives(self, execution: Execution, groups: list[list[int]]) -> dict[int, Life]:
        """Return the life of every computed value that is looked at.

        Of the values that lie in one memory the first made has its size, and lives as long as any of them: one that is
        kept holds all of it.
        """
        last = {value: self._maker[value] for value in self._asked}
        for op in self._ops:
            for value in op.reads:
                if value in self._maker:
                    last[value] = op.index
        for group in groups:
            end = max((self._maker[value] for value in group), default=0)
            for value in group:
                last[value] = max(last[value], end)
        sharing: dict[int, list[int]] = {}
        for value in sorted(last, key=self._maker.__getitem__):
            sharing.setdefault(execution.values[value].tensor.untyped_storage().data_ptr(), []).append(value)
        lives = {}
        for values in sharing.values():
            size = execution.values[values[0]].tensor.untyped_storage().nbytes()
            lives |= {value: Life(self._maker[value], last[value], 0) for value in values}
            lives[values[0]] = Life(self._maker[values[0]], max(last[value] for value in values), size)
        return lives

    @property
    def _held(self) -> tuple[int, dict[int, Tensor]] | None:
        """The stretch that this thread holds, and its values."""
        return self._thread.held

    @_held.setter
    def _held(self, held: tuple[int, dict[int, Tensor]] | None) -> None:
        self._thread.held = held

    # -- asking --------------------------------------------------------------------------------------------------------

    def tensor(self, value: int) -> Tensor:
        """Return a value's tensor. Raises `StaleCircuitError` if a tensor that the ops read was changed since."""
        if value in self.kept:
            return self.kept[value]
        stretch = bisect_right(self._cuts, self._maker[value])
        held = self._held
        if held is None or held[0] != stretch or value not in held[1]:
            held = self._held = None  # the old one goes before the new one comes
            held = self._held = stretch, self._make(stretch)
        return held[1][value]

    def release(self, value: int | None = None) -> None:
        """Let go of one value of the stretch that was made last, or of all. Asked for again, it is made again."""
        if value is None or self._held is None:
            self._held = None
        else:
            self._held[1].pop(value, None)

    def handle(self, value: int, like: Tensor) -> Tensor | Again:
        """Return what stands for a value in a circuit: its tensor if that is kept, else a promise of it.

        `like` is the tensor as the circuit shows it: the recorded one, or a view of it with an axis taken apart.
        """
        return self.kept[value].reshape(like.shape) if value in self.kept else Again(self, value, like)

    # -- making --------------------------------------------------------------------------------------------------------

    def _make(self, stretch: int, against: Execution | None = None) -> dict[int, Tensor]:
        """Run a stretch of ops and return the values that can be asked for.

        `against`: hold them against the recorded ones, and keep the recorded ones of those that differ.
        """
        ends = (0, *self._cuts, len(self._ops))
        made: dict[int, Tensor] = {}

        def look_up(value: int) -> Tensor:
            found = made.get(value)
            if found is None:
                found = self.kept.get(value)
            return self._constant(value) if found is None else found

        with _as_recorded(self._settings, self._device()):
            for op in self._ops[ends[stretch] : ends[stretch + 1]]:
                if all(value is None or value in self.kept for value in op.outputs):
                    continue
                for value, result in zip(op.outputs, results_of(op, look_up), strict=True):
                    if value is None or value in self.kept:
                        continue
                    made[value] = result.to(self._dtypes[value])  # x += y keeps the dtype of x, where x + y would not
                    if against is not None and not _same(made[value], against.tensor(value)):
                        self.kept[value] = made[value] = against.tensor(value)
        return {value: tensor for value, tensor in made.items() if value in self._asked}

    def _constant(self, value: int) -> Tensor:
        tensor, name, owner, version = self._constants[value]
        if owner is not None and version is not None and owner._version != version:
            raise StaleCircuitError(
                f"{name or 'a constant'!r} was changed in place after tracing (version {version}, now "
                f"{owner._version}), so the activations of a lean circuit cannot be made again. Trace again, or trace "
                "with copy=True."
            )
        return tensor

    def _device(self) -> torch.device:
        return next(iter(self.kept.values())).device


class _Thread(threading.local):
    """What one thread made last. Copies and pickles begin with nothing, for it can be made again."""

    held: tuple[int, dict[int, Tensor]] | None = None

    def __reduce__(self) -> Any:
        return _Thread, ()


class Again:
    """Stands for a tensor that is made again: shape, dtype and device are known, `tensor()` makes it."""

    def __init__(self, lean: Lean, value: int, like: Tensor) -> None:
        self._lean, self._value = lean, value
        self.shape, self.dtype, self.device = like.shape, like.dtype, like.device

    def numel(self) -> int:
        """Return the number of entries."""
        return prod(self.shape)

    def tensor(self) -> Tensor:
        """Return the tensor, bit by bit the recorded one."""
        return self._lean.tensor(self._value).reshape(self.shape)


Constant = tuple[Tensor, str | None, Tensor | None, int | None]


def _constants(execution: Execution, made: Mapping[int, int]) -> dict[int, Constant]:
    """Return the tensors that ops read and none makes, each with its name and the version to watch."""
    read = {value for op in execution.ops for value in op.reads}
    found = {}
    for value in read - set(made) - set(execution.sources.values()):
        held = execution.values[value]
        found[value] = held.tensor, held.name, held.owner, held.version
    return found


def _by_itself(tensor: Tensor) -> Tensor:
    """Return a tensor, a copy if it is a small part of its memory: the scores of one token, say, of those of all."""
    few = 2 * tensor.numel() * tensor.element_size() < tensor.untyped_storage().nbytes()
    return tensor.clone() if few else tensor


def _same(result: Tensor, recorded: Tensor) -> bool:
    """Return whether two tensors agree in every bit, and lie alike: kernels choose their order of sums by strides."""
    alike = (result.dtype, result.shape, result.stride()) == (recorded.dtype, recorded.shape, recorded.stride())
    return alike and torch.equal(result, recorded) and torch.equal(result.signbit(), recorded.signbit())


# -- torch as it was when the execution was recorded -------------------------------------------------------------------


def _settings() -> tuple[Any, ...]:
    """Return the settings of torch that may change the last bits of a result."""
    cudnn = torch.backends.cudnn
    return (
        torch.get_num_threads(),
        torch._C._get_mkldnn_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
        {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")},
    )


_SETTINGS = threading.Lock()
"""Threads make their stretches one after another: the settings of one would change the last bits of another's."""


@contextmanager
def _as_recorded(settings: tuple[Any, ...], device: torch.device) -> Iterator[None]:
    """Run ops as they ran when they were recorded: without gradients or autocast, with the same settings; put all back.

    Random numbers are drawn aside: an op that draws them is run once, when it is found to give other ones.
    """
    threads, mkldnn, tf32, cudnn = settings
    with _SETTINGS, ExitStack() as stack:
        now = _settings()
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        if mkldnn != now[1]:
            stack.callback(torch._C._set_mkldnn_enabled, now[1])
            torch._C._set_mkldnn_enabled(mkldnn)
        on_gpu = device.type == "cuda"  # elsewhere these change nothing, and another thread may hold them changed
        if on_gpu and cudnn != now[3]:
            stack.enter_context(torch.backends.cudnn.flags(**cudnn))
        if on_gpu and tf32 != now[2]:
            stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", now[2])
            torch.backends.cuda.matmul.allow_tf32 = tf32
        if threads != now[0]:
            stack.callback(torch.set_num_threads, now[0])
            torch.set_num_threads(threads)
        yield
