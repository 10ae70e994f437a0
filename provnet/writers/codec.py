"""Circuits of both sizes to JSON values and named tensors, and back. Only the classes of one closed table are made."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from provnet.circuit import weights, wiring
from provnet.circuit.blocks import Activation, Block, BlockCircuit, Call, Earlier, Input, Operand
from provnet.circuit.deferred import Deferred
from provnet.circuit.gates import GateStore, Neuron, Variable
from provnet.circuit.table import Table
from provnet.circuit.transposed import TransposedConvolution
from provnet.circuit.variables import EdgeSegment, PatternSegment, Place, VariableTable
from provnet.circuit.weight_spec import weight_faults
from provnet.circuit.weights import Weight
from provnet.circuit.wiring import Wiring
from provnet.circuit.wiring_spec import faults_of
from provnet.errors import FileFormatError, UnsupportedOperationError
from provnet.rules.fusion import Scaled
from provnet.writers.writable_names import require_writable

CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        *(BlockCircuit, Activation, Block, Operand, Call, Earlier, Input, Table, TransposedConvolution),
        *(GateStore, Neuron, Variable, VariableTable, EdgeSegment, PatternSegment, Place),
        *(c for c in vars(wiring).values() if isinstance(c, type) and issubclass(c, wiring.Wiring)),
        *(c for c in vars(weights).values() if isinstance(c, type) and issubclass(c, weights.Weight)),
    )
}
"""Every class that a file may name; `class_named` adds those that registered what a file may say of them."""


def class_named(name: str) -> type | None:
    """Return a class that a file may name; None if there is none: nothing else is ever called on the word of a file.

    Wirings and weights from outside are among them once they have said which of their fields are legal.
    """
    registered = (cls for cls in (*faults_of.registry, *weight_faults.registry) if issubclass(cls, Wiring | Weight))
    return CLASSES.get(name) or next((cls for cls in registered if cls.__name__ == name), None)


NOT_WRITTEN = {("Block", "places"), ("BlockCircuit", "kept"), ("BlockCircuit", "lean")}
"""A loaded circuit owns all of its tensors: there is no model's tensor for it to watch, and none to make again."""

EARLIER = {("Activation", "void"): "padding"}
"""Fields by the names that earlier versions gave them in their files, and what they are called now."""


class Encoder:
    """Turns values into JSON and collects their tensors in `tensors`, tied ones once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        self._storages: set[int] = set()
        self._alive: list[Any] = []  # a freed tensor's address could come again

    def encode(self, value: Any) -> Any:
        """Return `value` as JSON. Raises `UnsupportedOperationError` for a kind of value that no circuit has."""
        if isinstance(value, str):
            require_writable([value])
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int | np.integer):
            return int(value)
        if isinstance(value, float | np.floating):
            return float(value) if math.isfinite(value) else {"float": str(float(value))}
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, Scaled):
            return {"scaled": [self._tensor(value.base), self._tensor(value.scale)]}
        if isinstance(value, Deferred):
            return self.encode(value.value)
        if isinstance(value, np.ndarray):
            array = value if value.flags.writeable else value.copy()
            return {"array": self._tensor(torch.from_numpy(array))}
        if isinstance(value, tuple | list):
            return [self.encode(part) for part in value]
        if isinstance(value, frozenset | set):
            return {"set": sorted(self.encode(part) for part in value)}
        if isinstance(value, Mapping):
            return {"map": [[self.encode(k), self.encode(v)] for k, v in value.items()]}
        return self._instance(value)

    def _instance(self, value: Any) -> dict[str, Any]:
        name = type(value).__name__
        if class_named(name) is not type(value):
            raise UnsupportedOperationError(
                f"a {name} cannot be written to a file: only data and tensors can. A wiring or a weight of your own "
                "registers what a file may say of it: see docs/add-your-own.md."
            )
        fields = [f.name for f in dataclasses.fields(value) if (name, f.name) not in NOT_WRITTEN]
        # What is deferred is written as the parts it is made of: what is made may round otherwise.
        return {"class": name, "fields": {field: self.encode(vars(value)[field]) for field in fields}}

    def _tensor(self, tensor: Tensor) -> dict[str, Any]:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise UnsupportedOperationError(f"a {tensor.layout} tensor on {tensor.device} cannot be written to a file.")
        tensor = tensor.detach()
        # The order of axes in memory is kept: a channels-last convolution may round otherwise than another.
        order = sorted(range(tensor.dim()), key=lambda d: -tensor.stride(d))
        if not tensor.permute(order).is_contiguous():
            order = list(range(tensor.dim()))
        start, geometry = tensor.untyped_storage().data_ptr(), (tensor.storage_offset(), tensor.shape, tensor.stride())
        key = (tensor.device, start, geometry, tensor.dtype)
        if key not in self._known:
            self._known[key] = f"t{len(self.tensors)}"
            self._alive.append(tensor)
            plain = tensor.permute(order).contiguous().cpu()
            # The format wants storages of their own: a second view of one becomes a copy.
            if plain.untyped_storage().data_ptr() in self._storages:
                plain = plain.clone()
            self._storages.add(plain.untyped_storage().data_ptr())
            self.tensors[self._known[key]] = plain
        return {"tensor": self._known[key], "order": order} if order != sorted(order) else {"tensor": self._known[key]}


class Decoder:
    """Turns JSON back into values, with the tensors that stand beside it."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def decode(self, value: Any) -> Any:
        """Return the value that was encoded. Raises `FileFormatError`, or what a malformed value makes Python raise."""
        if isinstance(value, list):
            return tuple(self.decode(part) for part in value)
        if not isinstance(value, dict):
            return value
        match value:
            case {"tensor": name}:
                return self._tensor(self.tensors[name], value.get("order"))
            case {"scaled": parts}:
                return _scaled(*map(self.decode, parts))
            case {"array": inner}:
                return self.decode(inner).numpy()
            case {"float": text}:
                return float(text)
            case {"set": parts}:
                return frozenset(self.decode(part) for part in parts)
            case {"map": pairs}:
                return {self.decode(k): self.decode(v) for k, v in pairs}
            case {"class": name, "fields": fields}:
                return self._instance(name, fields)
        raise FileFormatError(f"a value of no known kind: {sorted(value)}")

    @staticmethod
    def _tensor(tensor: Tensor, order: Sequence[int] | None) -> Tensor:
        if order is None:
            return tensor
        back = sorted(range(len(order)), key=lambda d: order[d])
        return tensor.permute(back)

    def _instance(self, name: str, fields: dict[str, Any]) -> Any:
        cls = class_named(name)
        if cls is None:
            raise FileFormatError(f"the class {name!r} is none that a file may hold")
        hints = hints_of(cls)
        values = {EARLIER.get((name, field), field): self.decode(value) for field, value in fields.items()}
        for field, value in values.items():
            if field not in hints or (name, field) in NOT_WRITTEN:
                raise FileFormatError(f"a {name} has no field {field!r}")
            if not fits(value, hints[field]):
                raise FileFormatError(f"{name}.{field} has a value of the wrong kind")
        return cls(**values)


def _scaled(base: Any, scale: Any) -> Scaled:
    """Return a weight whose rows are scaled. Raises `FileFormatError` if there is not one number a row."""
    if not (isinstance(base, Tensor) and isinstance(scale, Tensor) and base.dim() and scale.shape == base.shape[:1]):
        raise FileFormatError("a scaled weight without one number a row")
    return Scaled(base, scale)


@cache
def hints_of(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of the type that a field declares, containers looked into."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(fits(part, arguments[0]) for part in value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin is np.ndarray:
        return isinstance(value, np.ndarray) and value.dtype.kind in "biu"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(
            fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items()
        )
    if isinstance(origin, type) and issubclass(origin, Sequence | frozenset):
        # A table makes its variables when asked, and was judged itself when it was made.
        judged = isinstance(value, VariableTable) and arguments[0] is Variable
        return isinstance(value, origin) and (judged or all(fits(part, arguments[0]) for part in value))
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else True
