"""What a recording gives: values, ops and module calls, as plain data. Nothing here runs or records anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

ValueKind = Literal["source", "parameter", "buffer", "constant", "computed"]


@dataclass(frozen=True)
class Ref:
    """Stands in an op's arguments where a tensor stood. Ops hold value ids, never tensors."""

    id: int


_PLAIN = frozenset({int, float, bool, str, type(None)})


def refs_in(argument: Any) -> list[int]:
    """Return the ids of the references in an op's arguments, however deep, in order."""
    found: list[int] = []
    _collect(argument, found)
    return found


def _collect(argument: Any, found: list[int]) -> None:
    kind = type(argument)
    if kind is Ref:
        found.append(argument.id)
    elif kind in _PLAIN:  # most arguments; the checks for containers cost ten times as much
        return
    elif isinstance(argument, list | tuple):
        for part in argument:
            _collect(part, found)
    elif isinstance(argument, Mapping):
        for part in argument.values():
            _collect(part, found)


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor value of the execution: detached, never the caller's object, never overwritten.

    `active` values depend on a source through floats. `version` is the tensor's version counter when it was recorded
    (parameters, buffers and constants share storage with the model, so a later change can be told; None in inference
    mode, which counts none) and `owner` a tensor that still counts versions with it. `live` is the caller's own tensor,
    or a copy that its graph leads to, where it requires a gradient: `replay_with_graph` starts there. `origin` names
    the op that made a constant of a traced tensor.
    """

    id: int
    tensor: Tensor
    kind: ValueKind
    name: str | None = None
    active: bool = False
    version: int | None = None
    owner: Tensor | None = None
    live: Tensor | None = None
    origin: str | None = None


@dataclass(frozen=True, eq=False)
class TracedOp:
    """One executed ATen op, in functional form: in-place ops appear under the functional name with a fresh output.

    `name` is the packet ("aten.convolution"), `func` the overload that was called and can be replayed. `args` and
    `kwargs` hold `Ref`s for tensors. `outputs` has one id (or None for a non-tensor) for each result.
    `path` and `module` name the innermost module ("features.0", "Conv2d"), `call` its call ("features.0#1" for the
    second of several); `label` is the unique name of the op itself: the call's if the module is a leaf with one op,
    else "call/add_1". `classes` are the full names of the classes that the module is an instance of.
    """

    index: int
    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[int | None, ...]
    path: str
    module: str
    label: str
    call: str = ""
    classes: tuple[str, ...] = ()

    @cached_property
    def reads(self) -> tuple[int, ...]:
        """The ids of what its arguments refer to, in order, repetitions kept."""
        return tuple(refs_in((self.args, self.kwargs)))


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of one module: which values went in and came out. `call` counts the calls of this module from 0; `name`
    is the call's unique name, the module's path if there is just one.

    Only active values are listed. `output_keys` says, for each of `outputs`, where in the module's output it stood: ""
    for a tensor by itself, "[0]" or "[1][h]" within a tuple or dict.
    """

    path: str
    module: str
    call: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    output_keys: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, eq=False)
class Execution:
    """One recorded execution. `ops` are in the order of execution and contain active ops only."""

    model: str
    ops: tuple[TracedOp, ...]
    values: Mapping[int, Value]
    sources: Mapping[str, int]
    outputs: Mapping[str, int]
    modules: tuple[ModuleCall, ...]
    batch: int
    batch_dim: int = 0
    opaque: Mapping[int, Any] = field(default_factory=dict)
    """Op index -> how an op that stands for a whole opaque module call is to be treated (see `trace(opaque=)`)."""
    call: Any = None
    """The `ModelCall` that was recorded, for who wants to call the model again."""
    fixed: tuple[str, ...] = ()
    """Why its ops cannot be run again on other inputs, a phrase for each reason; see `provnet.capture.dependence`."""
    unshared: frozenset[int] = frozenset()
    """Where the storages lie that nobody but this holds: no hook, no variable, no attribute of the model."""
    imprint: Any = None
    """The `Imprint` of the model's parameters and buffers as they were found; None if they were not looked at."""

    argument: str | None = None
    """What the model calls the argument that is its only source, which goes by "input"."""

    def tensor(self, ref: Ref | int) -> Tensor:
        """Return the recorded tensor behind a reference."""
        return self.values[ref.id if isinstance(ref, Ref) else ref].tensor

    def active(self, argument: Any) -> bool:
        """Return whether an op's argument is a reference to an active value."""
        return isinstance(argument, Ref) and self.values[argument.id].active
