"""Propagation rules and composites as JSON, and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from provnet.circuit.conventions import CONVENTIONS
from provnet.errors import FileFormatError, ProvnetError, UnsupportedOperationError
from provnet.rules.lrp.base import REGISTRY, Rule
from provnet.rules.lrp.composite import Composite, Entry
from provnet.rules.lrp.selectors import IN_FILES, Selector, Where


def to_json(rule: Rule) -> str:
    """Return a rule as JSON text. `from_json` gives an equal rule back.

    Raises: `UnsupportedOperationError` for a rule that is not registered, or that holds a function.
    """
    return json.dumps(_data(rule), ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> Rule:
    """Return the rule that `to_json` wrote down. Raises `FileFormatError` for anything else.

    text   what `to_json` gave.
    """
    try:
        return _made(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, ProvnetError):
            raise
        raise FileFormatError(f"this is no propagation rule in JSON ({type(error).__name__}: {error}).") from error


def _data(rule: Rule) -> dict[str, Any]:
    if isinstance(rule, Composite):
        entries = [_entry_data(one) for one in rule.entries]
        return {"rule": rule.name, "title": rule.title, "default": _data(rule.default), "entries": entries}
    if rule.name not in REGISTRY or REGISTRY.get(rule.name) is not type(rule) or not dataclasses.is_dataclass(rule):
        raise UnsupportedOperationError(
            f"{rule!r} has no JSON form: it must be a frozen dataclass that is registered under its name "
            "(provnet.rules.register)."
        )
    fields = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}
    return {"rule": rule.name, **{name: _plain(rule, value) for name, value in fields.items()}}


def _plain(rule: Rule, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(rule, part) for part in value]
    raise UnsupportedOperationError(f"{rule!r} has no JSON form: it holds {value!r}, which is no number or text.")


def _entry_data(one: Entry) -> dict[str, Any]:
    if isinstance(one.blocks, Where):
        raise UnsupportedOperationError(f"the entry {one} has no JSON form: it chooses blocks by a function.")
    name = next(name for name, cls in IN_FILES.items() if cls is type(one.blocks))
    blocks = {"selector": name, **dataclasses.asdict(one.blocks)}
    found: dict[str, Any] = {"blocks": blocks}
    if one.rule is not None:
        found["rule"] = _data(one.rule)
    return found | dict(one.conventions) | ({"optional": True} if one.optional else {})


def _made(data: dict[str, Any]) -> Rule:
    options = dict(data)
    name = options.pop("rule")
    if name == Composite.name:
        entries = [_made_entry(one) for one in options["entries"]]
        return Composite(entries, _made(options["default"]), options["title"])
    cls = REGISTRY.get(name)
    if not (isinstance(cls, type) and issubclass(cls, Rule)):
        raise FileFormatError(f"{name!r} is no rule by itself.")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()})


def _made_entry(data: dict[str, Any]) -> Entry:
    rule = data.get("rule")
    given = tuple((name, data[name]) for name in CONVENTIONS if data.get(name) is not None)
    for name, value in given:
        CONVENTIONS[name].check(value, " in a composite")
    blocks = dict(data["blocks"])
    made: Selector = IN_FILES[blocks.pop("selector")](**blocks)
    return Entry(made, None if rule is None else _made(rule), given, optional=bool(data.get("optional")))
