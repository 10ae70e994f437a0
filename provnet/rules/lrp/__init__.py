"""Propagation rules, one small class each. A file added here is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.conventions import DEFAULT, Conventions, under
from provnet.errors import OptionError
from provnet.rules.lrp.base import REGISTRY, Choice, Rule
from provnet.rules.lrp.composite import Composite
from provnet.rules.lrp.rule_json import from_json, to_json
from provnet.rules.lrp.zero import Zero

__all__ = [
    "REGISTRY",
    "Choice",
    "Composite",
    "Rule",
    "Zero",
    "assignment",
    "from_json",
    "get",
    "names",
    "resolved",
    "to_json",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def get(rule: str | Rule | Mapping[Any, Any]) -> Rule:
    """Return the propagation rule called `rule` with its default parameters; a rule is returned as it is.

    A mapping is short for a `Composite`. Raises: `UnknownNameError`, `OptionError`.
    """
    if isinstance(rule, Rule):
        return rule
    if isinstance(rule, str):
        return REGISTRY.get(rule)()
    if isinstance(rule, Mapping):
        return Composite(rule)
    raise OptionError(f"a propagation rule was expected, or its name ({', '.join(names())}); got {rule!r}.")


def assignment(rule: Rule, circuit: BlockCircuit) -> tuple[Choice, ...]:
    """Return what each block takes when `rule` is asked for: blocks that it leaves out keep plain proportions.

    circuit   the blocks.
    Raises: `OptionError` where it cannot apply, `UnknownNameError` for a pattern that fits no block.
    """
    plain = Choice(Zero(), why="default")
    return tuple(plain if choice is None else choice for choice in rule.assign(circuit))


def resolved(circuit: BlockCircuit, rule: Rule, conventions: Conventions = DEFAULT) -> BlockCircuit:
    """Return the circuit under the conventions of an evaluation, those that the rule changes block by block included.

    Blocks keep their number and order, so what `assignment` says of the circuit holds of the result.
    Raises: as `assignment`; `OptionError` for a convention's unknown value.
    """
    choices = assignment(rule, circuit)
    return under(circuit, [(conventions.changed(**choice.conventions), choice.rule.units) for choice in choices])


def names() -> tuple[str, ...]:
    """Return the names of all propagation rules."""
    return REGISTRY.names()
