"""The JSON schema of inspections, made from the dataclasses, so that the two cannot part.

`python -m provnet.applications.inspection.schema` writes it to `inspection.schema.json` beside this file.
"""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from provnet.applications.inspection.model import FORMAT, Inspection, Value

FILE = Path(__file__).with_name("inspection.schema.json")

NUMBER = {"type": "string", "pattern": "^(-?Infinity|NaN)$"}
VALUE = {"anyOf": [{"type": ["number", "boolean"]}, {"type": "string", "pattern": "^(-?Infinity|NaN|-?[0-9]+)$"}]}
PLAIN = {int: {"type": "integer"}, str: {"type": "string"}, bool: {"type": "boolean"}}


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of what `Inspection.to_json` writes."""
    definitions: dict[str, Any] = {}
    root = _of(Inspection, definitions)
    definitions["Inspection"]["properties"]["format"] = {"const": FORMAT}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "provnet inspection",
        "description": "A part of a provenance circuit with its values in some semirings.",
        **root,
        "$defs": {"value": VALUE, **definitions},
    }


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; dataclasses are filed in `definitions`."""
    if kind == Value:
        return {"$ref": "#/$defs/value"}
    if kind is float:
        return {"anyOf": [{"type": "number"}, NUMBER]}
    if kind in PLAIN:
        return dict(PLAIN[kind])
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        rest = [part for part in parts if part is not type(None)]
        inner = _of(rest[0] if len(rest) == 1 else Value, definitions)
        return {"anyOf": [inner, {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _of(parts[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(parts[1], definitions)}
    return _dataclass(kind, definitions)


def _dataclass(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in definitions:
        hints = get_type_hints(kind)
        fields = dataclasses.fields(kind)
        definitions[kind.__name__] = {}
        definitions[kind.__name__] = {
            "type": "object",
            "description": " ".join((kind.__doc__ or "").split("\n\n")[0].split()),
            "properties": {field.name: _of(hints[field.name], definitions) for field in fields},
            "required": [field.name for field in fields],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}


def text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
