"""Gates as JSON: everything that a gate store holds, in columns, with a version; and the reader."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from provnet.circuit.check import check
from provnet.circuit.gates import KINDS, GateStore, Neuron, Variable
from provnet.errors import CircuitError, FileFormatError, UnsupportedOperationError
from provnet.writers.atomic import write_string
from provnet.writers.base import StrPath, Subject, gates_of, writer

FORMAT = 1
KIND = "provnet gates"


@writer("json")
def write_json(subject: Subject, path: StrPath) -> Path:
    """Write gates as JSON, bit by bit what `read_json` gives back. Raises `OutputError`."""
    store = gates_of(subject)
    arrays = {name: getattr(store, name).tolist() for name in ("first", "operands", "variable", "root_gates")}
    content = {
        "kind": KIND,
        "format": FORMAT,
        "gates": [KINDS[k] for k in store.kind.tolist()],
        **arrays,
        **describe(store),
    }
    rows = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
    return write_string(path, "{\n" + ",\n".join(rows) + "\n}")


def read_json(path: StrPath) -> GateStore:
    """Return the gates that `write_json` wrote. Raises `FileFormatError` for any other content or a missing file."""
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} cannot be read as JSON ({error}): write it again with write_json.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise FileFormatError(f"{path} holds no gates: a JSON file that write_json wrote was expected.")
    if content.get("format") != FORMAT:
        raise FileFormatError(
            f"{path} has format {content.get('format')!r} and this provnet reads {FORMAT}: update provnet."
        )
    try:
        kind = np.array([KINDS.index(name) for name in content["gates"]], np.uint8)
        arrays = {name: integers(content[name]) for name in ("first", "operands", "variable", "root_gates")}
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise FileFormatError(f"{path} is damaged ({error}): write it again with write_json.") from error
    return assemble(kind, arrays, content, str(path))


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


def assemble(kind: np.ndarray, arrays: Mapping[str, np.ndarray], content: Mapping[str, Any], where: str) -> GateStore:
    """Return the gate store of its arrays and of what `describe` gave. Raises `FileFormatError` if they do not fit."""
    try:
        variables = tuple(
            Variable(
                _text(v["name"]),
                _text(v["path"]),
                _neuron_from(v["source"]),
                _neuron_from(v["target"]),
                _key_from(v["key"]),
            )
            for v in content["variables"]
        )
        roots = tuple(_certain(_neuron_from(neuron)) for neuron in content["roots"])
        store = GateStore(
            kind=kind,
            first=arrays["first"].astype(np.int64),
            operands=arrays["operands"].astype(np.int32),
            variable=arrays["variable"].astype(np.int32),
            variables=variables,
            roots=roots,
            root_gates=arrays["root_gates"].astype(np.int32),
            assumption=frozenset(_text(flag) for flag in content["assumption"]),
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise FileFormatError(f"{where} is damaged ({type(error).__name__}: {error}): write it again.") from error
    try:
        return check(store)
    except CircuitError as error:
        raise FileFormatError(f"{where} holds no circuit: {error}") from error


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
