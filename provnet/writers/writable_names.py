"""Names that no file can hold: every writer refuses the same ones, and escapes the others in its own way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from provnet.circuit.gates import GateStore, Neuron, Variable
from provnet.circuit.variables import EdgeSegment, VariableTable
from provnet.errors import UnsupportedOperationError

_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters (tabs and line breaks apart), lone surrogates, and what Unicode says is no character."""


def require_writable(texts: Iterable[str]) -> None:
    """Raise `UnsupportedOperationError` for a text with a character that XML, UTF-8 or a line of text cannot hold."""
    for text in texts:
        if found := _UNWRITABLE.search(text):
            raise UnsupportedOperationError(
                f"the name {text!a} holds U+{ord(found.group()):04X}, which no file can hold: rename it."
            )


def texts_of(store: GateStore) -> Iterator[str]:
    """Yield every text of a store of gates. Of a table of variables these are the parts that names are made of."""
    yield from store.assumption
    for root in store.roots:
        yield root.path
    if not isinstance(store.variables, VariableTable):
        for variable in store.variables:
            yield from _texts_of_variable(variable)
        return
    for segment in store.variables.segments:
        yield segment.path
        if isinstance(segment, EdgeSegment):
            yield from (place.path for place in (segment.target, *segment.inputs))
        else:
            yield segment.pattern


def _texts_of_variable(variable: Variable) -> Iterator[str]:
    yield variable.name
    yield variable.path
    yield from (neuron.path for neuron in (variable.source, variable.target) if isinstance(neuron, Neuron))
    yield from _texts_in(variable.key)


def _texts_in(key: Any) -> Iterator[str]:
    if isinstance(key, str):
        yield key
    elif isinstance(key, tuple):
        for part in key:
            yield from _texts_in(part)
