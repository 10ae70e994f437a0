"""What a table of variables must be before a name of it may be made: a file may claim any numbers and patterns."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

import numpy as np

from provnet.circuit.gates import Variable
from provnet.circuit.variables import EdgeSegment, PatternSegment, Place, VariableTable

LARGEST = 1 << 62
"""Neurons that a tensor may be said to have: their numbers are 64-bit integers."""


def segment_faults(variables: Sequence[Variable]) -> Iterator[str]:
    """Yield what is wrong with the columns of a table of variables. Listed variables have none."""
    if not isinstance(variables, VariableTable):
        return
    for segment in variables.segments:
        if isinstance(segment, EdgeSegment):
            yield from _edge_faults(segment)
        else:
            yield from _pattern_faults(segment)


def _edge_faults(segment: EdgeSegment) -> Iterator[str]:
    columns = {name: getattr(segment, name) for name in ("output", "slot", "source")}
    if any(column.ndim != 1 or column.dtype != np.int64 for column in columns.values()):
        yield f"the variables of {segment.path!r} are numbered by rows of int64"
    elif len({len(column) for column in columns.values()}) > 1:
        yield f"the variables of {segment.path!r} have columns of different lengths"
    elif not all(_sound(place) for place in (segment.target, *segment.inputs)):
        yield f"the variables of {segment.path!r} lie between tensors that cannot be"
    elif len(segment):
        last = sum(place.size for place in segment.inputs) - 1
        if not 0 <= segment.output.min() <= segment.output.max() < segment.target.size:
            yield f"the variables of {segment.path!r} lead to neurons outside {segment.target.shape}"
        if not -1 <= segment.source.min() <= segment.source.max() <= last or segment.slot.min() < 0:
            yield f"the variables of {segment.path!r} come from neurons outside its inputs"


def _pattern_faults(segment: PatternSegment) -> Iterator[str]:
    index, place = segment.index, segment.place
    if index.ndim != 2 or index.dtype != np.int64:
        yield f"the variables of {segment.path!r} are numbered by a table of int64"
        return
    fields = list(_fields(segment.pattern))
    # A format may ask for attributes, or for a billion blanks: here a number stands where {} stands, and that is all.
    if any(field not in ("", None) for field in fields) or fields.count("") > index.shape[1]:
        yield f"the pattern {segment.pattern!r} is no name with {index.shape[1]} numbers"
    if place is not None and len(index):
        inside = _sound(place) and index.shape[1] == len(place.shape)
        if not inside or (index < 0).any() or (index >= np.array(place.shape)).any():
            yield f"the variables of {segment.path!r} are neurons outside {place.shape}"


def _fields(pattern: str) -> Iterator[str | None]:
    """Yield what stands in each pair of braces: "" for a bare {}, None where there is none."""
    try:
        for _, field, form, conversion in string.Formatter().parse(pattern):
            yield None if field is None else f"{field}{form or ''}{conversion or ''}"
    except ValueError:  # a brace without its partner
        yield pattern


def _sound(place: Place) -> bool:
    return all(1 <= size <= LARGEST for size in place.shape) and place.size <= LARGEST
