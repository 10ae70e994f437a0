"""`Inspection`: what there is to be seen of a circuit, as plain data that page, notebooks and reports share.

Its JSON form is published as `inspection.schema.json` beside this file. A number that JSON lacks is
a text there: "Infinity", "-Infinity", "NaN", and whole numbers beyond 2^53 by their digits.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from provnet.errors import FileFormatError

FORMAT = 1
SAFE = 2**53
"""Whole numbers up to here are exact in JSON as JavaScript reads it."""

Value = float | int | bool | str
"""An element of a semiring whose elements are numbers; a text only in JSON, see `plain`."""


@dataclass(frozen=True)
class Layer:
    """One tensor whose neurons are shown. `depth` counts the layers of edges from the sources up."""

    id: int
    name: str
    aliases: tuple[str, ...]
    op: str
    shape: tuple[int, ...]
    size: int
    depth: int
    source: bool = False


@dataclass(frozen=True)
class Algebra:
    """A semiring, as a page needs it.

    plus    how ⊕ joins numbers: "sum", "max", "min", "or"; "" if it is none of these
    theta   whether its annotation function is a threshold, so that θ changes its elements
    costs   whether the smaller of two elements is the stronger
    """

    name: str
    question: str
    plus: str
    selective: bool
    ring: bool
    zero: Value
    theta: bool
    costs: bool


@dataclass(frozen=True)
class PageQuestion:
    """What the values answer. `theta` None: the annotation function's own; `target`: the class, or a full index."""

    semiring: str
    rule: str
    target: str
    example: int
    theta: float | None = None
    order: str = "real"
    """The semiring in which wires are ordered, strongest first."""


@dataclass(frozen=True)
class Node:
    """A neuron, or a gate. `inputs` and `outputs` count its wires, shown or not."""

    id: str
    name: str
    layer: int
    index: int
    kind: str
    values: dict[str, Value]
    activation: float | None = None
    inputs: int = 0
    outputs: int = 0


@dataclass(frozen=True)
class Wires:
    """Edges of the network (or wires of gates) in columns of one length.

    source, target  positions in `Inspection.nodes`; relevance runs from target to source
    variable        the name of the edge's variable, as formulas print it
    coefficient     d, the propagation rule's share; None for wires of gates
    elements        semiring -> Θ(d);  messages: semiring -> Θ(d) ⊗ R of the target
    """

    source: tuple[int, ...] = ()
    target: tuple[int, ...] = ()
    variable: tuple[str, ...] = ()
    coefficient: tuple[float | None, ...] = ()
    elements: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    messages: dict[str, tuple[Value, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Picture:
    """A source as a picture [height, width]: activations row-major, channels one after another.

    relevance   semiring -> the relevance of each pixel, in the same order
    """

    layer: int
    channels: int
    height: int
    width: int
    pixels: tuple[float, ...]
    relevance: dict[str, tuple[Value, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Inspection:
    """A part of a circuit with its values.

    kind      "neurons": nodes are neurons and wires are edges; "gates": nodes are ⊕, ⊗, variables
    targets   the nodes that the recursion starts from (of gates: the roots)
    steps     the thresholds at which some input falls out, ascending, from the Bottleneck pass
    alive     at each of `steps`, how many inputs are relevant at that threshold, exactly
    complete  whether every wire between the shown nodes and the target is there
    """

    model: str
    kind: str
    fingerprint: str
    question: PageQuestion
    algebras: tuple[Algebra, ...]
    layers: tuple[Layer, ...]
    nodes: tuple[Node, ...]
    wires: Wires
    targets: tuple[str, ...]
    classes: dict[str, str] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    steps: tuple[float, ...] = ()
    alive: tuple[int, ...] = ()
    complete: bool = True
    format: int = FORMAT

    def to_json(self, indent: int | None = None) -> str:
        """Return the JSON text. `Inspection.from_json` gives an equal inspection back."""
        return json.dumps(plain(self), ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Inspection:
        """Read what `to_json` wrote. Raises `FileFormatError` for any other content."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"this is no inspection: it cannot be read as JSON ({error}).") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise FileFormatError(f"expected an inspection of format {FORMAT}, got {found!r}: write it again.")
        try:
            return build(cls, content)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise FileFormatError(f"the inspection is damaged ({error}): write it again.") from error


def plain(value: Any) -> Any:
    """Return dataclasses, mappings and sequences as what JSON holds; see the top of this file for numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return list(value) if _columns_of_json(value) else [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE:
        return str(value)
    return value


def _columns_of_json(values: Sequence[Any]) -> bool:
    """Whether a long column is JSON already, found without a look at each entry by itself."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return all(map(math.isfinite, values))
    if kinds == {int}:
        return max(values) <= SAFE and min(values) >= -SAFE
    return bool(kinds) and kinds <= {str, bool, type(None)}


def number(value: Value) -> float | int | bool:
    """Return the number that an element in JSON stands for."""
    if not isinstance(value, str):
        return value
    return float(value.replace("Infinity", "inf")) if value.strip("-") in ("Infinity", "NaN") else int(value)


def build(kind: Any, content: Any) -> Any:
    """Return a value of a type (dataclass, tuple, dict, union, plain) from what JSON holds."""
    if kind == Value:
        return number(content)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if content is None and type(None) in parts:
            return None
        rest = tuple(part for part in parts if part is not type(None))
        return build(rest[0] if len(rest) == 1 else Value, content)
    if origin is tuple:
        return tuple(build(parts[0], part) for part in content)
    if origin is dict:
        return {str(key): build(parts[1], part) for key, part in content.items()}
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        if unknown := set(content) - set(hints):
            raise ValueError(f"{kind} has no {sorted(unknown)}")
        return cast(Any, kind)(**{name: build(hints[name], part) for name, part in content.items()})
    if kind is float and isinstance(content, str | int) and not isinstance(content, bool):
        return float(number(content))
    if not isinstance(content, kind) or (isinstance(content, bool) and kind is not bool):
        raise TypeError(f"expected {kind.__name__}, got {content!r}")
    return content
