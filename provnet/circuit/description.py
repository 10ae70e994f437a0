"""What a store of gates holds besides its columns, as JSON values: variables, roots, the assumption; and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from provnet.circuit.gates import GateStore, Neuron, Variable
from provnet.errors import UnsupportedOperationError


def describe(store: GateStore) -> dict[str, Any]:
    """Return what a gate store holds besides its arrays, as JSON values."""
    return {
        "variables": [
            {
                "name": v.name,
                "path": v.path,
                "source": _neuron_to(v.source),
                "target": _neuron_to(v.target),
                "key": _key_to(v.key),
            }
            for v in store.variables
        ],
        "roots": [_neuron_to(neuron) for neuron in store.roots],
        "assumption": sorted(store.assumption),
    }


def describe_texts(store: GateStore) -> dict[str, str]:
    """Return the same as one JSON text an entry: what every graph format can hold. What is empty is left out.

    GML has no empty text, and its readers make a list of "[]".
    """
    return {name: json.dumps(value) for name, value in describe(store).items() if value}


def variables_from(described: Any) -> tuple[Variable, ...]:
    """Return the variables that were described. Raises what a malformed value makes Python raise."""
    return tuple(
        Variable(
            _text(v["name"]),
            _text(v["path"]),
            _neuron_from(v["source"]),
            _neuron_from(v["target"]),
            _key_from(v["key"]),
        )
        for v in described
    )


def roots_from(described: Any) -> tuple[Neuron, ...]:
    """Return the roots that were described. Raises what a malformed value makes Python raise."""
    return tuple(_certain(_neuron_from(neuron)) for neuron in described)


def assumption_from(described: Any) -> frozenset[str]:
    """Return the assumption that was described. Raises what a malformed value makes Python raise."""
    return frozenset(_text(flag) for flag in described)


def parts_from(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables, roots and assumption as fields of a store. Raises what a malformed value makes Python raise."""
    return {
        "variables": variables_from(described["variables"]),
        "roots": roots_from(described["roots"]),
        "assumption": assumption_from(described["assumption"]),
    }


def integers(values: Sequence[Any]) -> np.ndarray:
    """Return a list as an int64 array. Raises `TypeError` for anything else, `OverflowError` if one is large."""
    if not isinstance(values, list) or not all(type(v) is int for v in values):
        raise TypeError("a list of integers was expected")
    if any(abs(v) > np.iinfo(np.int32).max for v in values):
        raise OverflowError("a number of a gate is too large")
    return np.array(values, np.int64)


def _neuron_to(neuron: Neuron | None) -> list[Any] | None:
    return None if neuron is None else [neuron.path, list(map(int, neuron.index))]


def _neuron_from(value: Any) -> Neuron | None:
    if value is None:
        return None
    path, index = value
    return Neuron(_text(path), tuple(integers(index).tolist()))


def _certain(neuron: Neuron | None) -> Neuron:
    if neuron is None:
        raise ValueError("a root is no neuron")
    return neuron


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {value!r}")
    return value


def _key_to(key: Any) -> Any:
    """Return a variable's key as JSON; tuples become lists, so a list has no place in it."""
    if key is None or isinstance(key, bool | int | float | str):
        return key
    if isinstance(key, np.integer):
        return int(key)
    if isinstance(key, tuple):
        return [_key_to(part) for part in key]
    raise UnsupportedOperationError(
        f"a variable's key {key!r} cannot be written: use numbers, texts and tuples of them."
    )


def _key_from(key: Any) -> Any:
    if isinstance(key, dict):
        raise TypeError("a variable's key is a number, a text, or a list of them")
    return tuple(_key_from(part) for part in key) if isinstance(key, list) else key
