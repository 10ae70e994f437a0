"""Gates as PROV-JSON: every gate an entity, every wire a derivation, for tools that read W3C provenance; and back.

Source: W3C member submission, The PROV-JSON Serialization, 2013; wasDerivedFrom of PROV-DM, section 5.2.1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from provnet.circuit.description import describe
from provnet.circuit.gates import KINDS, VARIABLE, GateStore
from provnet.errors import FileFormatError
from provnet.writers.atomic import write_string
from provnet.writers.base import StrPath, Subject, gates_of, writer
from provnet.writers.json import assemble

NAMESPACE = "urn:provnet:"


@writer("provjson", "prov-json")
def write_prov_json(subject: Subject, path: StrPath) -> Path:
    """Write gates as PROV-JSON, which `read_prov_json` gives back bit by bit.

    Entities are `provnet:g0`, `provnet:g1`, … with their kind as `prov:type` and a variable's name as `prov:label`; a
    gate was derived from each of its operands, whose place is `provnet:place`. Neurons are entities too, derived from
    the gate that is their relevance. Raises `OutputError`.
    """
    store = gates_of(subject)
    entities: dict[str, Any] = {}
    for gate, kind in enumerate(store.kind.tolist()):
        entity: dict[str, Any] = {"prov:type": f"provnet:{KINDS[kind]}"}
        if kind == VARIABLE:
            number = int(store.variable[gate])
            entity |= {"prov:label": store.variables[number].name, "provnet:variable": number}
        entities[f"provnet:g{gate}"] = entity
    derived: dict[str, Any] = {}
    for gate in range(len(store)):
        for place, operand in enumerate(store.operands_of(gate).tolist()):
            derived[f"_:w{len(derived)}"] = _derivation(f"provnet:g{gate}", f"provnet:g{operand}", place)
    for number, (root, gate) in enumerate(zip(store.roots, store.root_gates.tolist(), strict=True)):
        entities[f"provnet:root{number}"] = {"prov:type": "provnet:neuron", "prov:label": str(root)}
        derived[f"_:r{number}"] = _derivation(f"provnet:root{number}", f"provnet:g{gate}", 0)
    content = {
        "prefix": {"provnet": NAMESPACE},
        "entity": entities,
        "wasDerivedFrom": derived,
        "bundle": {},
    }
    content["entity"]["provnet:circuit"] = {
        "prov:type": "provnet:circuit",
        "provnet:gates": len(store),
        "provnet:description": json.dumps(describe(store), ensure_ascii=False),
    }
    return write_string(path, json.dumps(content, ensure_ascii=False, indent=1))


def _derivation(made: str, used: str, place: int) -> dict[str, Any]:
    return {"prov:generatedEntity": made, "prov:usedEntity": used, "provnet:place": place}


def read_prov_json(path: StrPath) -> GateStore:
    """Return the gates that `write_prov_json` wrote. Raises `FileFormatError` for any other content."""
    try:
        content = json.loads(Path(path).read_bytes())
        entities, derived = content["entity"], content["wasDerivedFrom"].values()
        circuit = entities["provnet:circuit"]
        parts = json.loads(circuit["provnet:description"])
        count, roots = int(circuit["provnet:gates"]), len(parts["roots"])
        if not 0 <= count <= len(entities):
            raise ValueError(f"{count} gates in {len(entities)} entities")
        gates = [entities[f"provnet:g{gate}"] for gate in range(count)]
        kind = np.array([KINDS.index(gate["prov:type"].removeprefix("provnet:")) for gate in gates], np.uint8)
        variable = np.array([int(gate.get("provnet:variable", -1)) for gate in gates], np.int64)
        below: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        root_gates = np.zeros(roots, np.int64)
        for one in derived:
            made, used = one["prov:generatedEntity"], _number(one["prov:usedEntity"], "provnet:g", count)
            if made.startswith("provnet:root"):
                root_gates[_number(made, "provnet:root", roots)] = used
            else:
                below[_number(made, "provnet:g", count)].append((int(one["provnet:place"]), used))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise FileFormatError(
            f"{path} cannot be read as a circuit in PROV-JSON ({error}): write it with write_prov_json."
        ) from error
    ordered = [[operand for _, operand in sorted(some)] for some in below]
    arrays = {
        "first": np.cumsum([0, *map(len, ordered)]),
        "operands": np.array([o for some in ordered for o in some], np.int64),
        "variable": variable,
        "root_gates": root_gates,
    }
    return assemble(kind, arrays, parts, str(path))


def _number(name: str, prefix: str, end: int) -> int:
    number = int(name.removeprefix(prefix))
    if not name.startswith(prefix) or not 0 <= number < end:
        raise ValueError(f"{name!r} is none of {end} entities {prefix}0 …")
    return number
