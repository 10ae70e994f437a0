"""Gates as JSON: everything that a gate store holds, in columns, with a version; and the reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from provnet.circuit.description import describe, integers, parts_from
from provnet.circuit.gate_check import check
from provnet.circuit.gates import KINDS, GateStore
from provnet.errors import CircuitError, FileFormatError
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


def assemble(kind: np.ndarray, arrays: Mapping[str, np.ndarray], content: Mapping[str, Any], where: str) -> GateStore:
    """Return the gate store of its arrays and of what `describe` gave. Raises `FileFormatError` if they do not fit."""
    try:
        store = GateStore(
            kind=kind,
            first=arrays["first"].astype(np.int64),
            operands=arrays["operands"].astype(np.int32),
            variable=arrays["variable"].astype(np.int32),
            root_gates=arrays["root_gates"].astype(np.int32),
            **parts_from(content),
        )
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FileFormatError(f"{where} is damaged ({type(error).__name__}: {error}): write it again.") from error
    try:
        return check(store)
    except CircuitError as error:
        raise FileFormatError(f"{where} holds no circuit: {error}") from error
