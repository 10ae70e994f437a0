"""One way to name a neuron everywhere: whatever is printed is accepted, and a near miss gets the right spelling."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.gates import Neuron, spelled
from provnet.errors import OptionError, UnknownNameError

Index = tuple[int, ...]


def neuron_in_text(text: str) -> tuple[str, Index] | None:
    """Return (path, index) of a neuron's name, "fc1[3]" or "conv1[0, 2, 2]"; None for a text of another form."""
    name = spelled(text.strip())
    path, bracket, rest = name.rpartition("[")
    parts = rest.removesuffix("]").split(", ")
    if not bracket or not rest.endswith("]") or not all(part.isdecimal() for part in parts):
        return None
    return path, tuple(map(int, parts))


def is_neuron(item: object) -> bool:
    """Return whether an item has the form of a neuron: a `Neuron`, (path, index…), or "path[index]"."""
    if isinstance(item, str):
        return neuron_in_text(item) is not None
    if isinstance(item, tuple) and len(item) > 1 and isinstance(item[0], str):
        return not isinstance(item[1], str) and not (isinstance(item[1], tuple) and item[1] and _texts(item[1]))
    return isinstance(item, Neuron)


def _texts(items: tuple[object, ...]) -> bool:
    return any(isinstance(item, str) for item in items)


def path_and_index(item: object) -> tuple[str, Index]:
    """Return (path, index) of a neuron in any of its forms. Raises `OptionError`, with a right spelling."""
    if isinstance(item, Neuron):
        return item.path, item.index
    if isinstance(item, str) and (found := neuron_in_text(item)) is not None:
        return found
    if isinstance(item, tuple) and item and isinstance(item[0], str):
        rest = item[1] if len(item) == 2 and isinstance(item[1], tuple) else item[1:]
        if all(hasattr(i, "__index__") for i in rest):  # numpy's integers too
            return item[0], tuple(map(index, rest))
    raise OptionError(f"{item!r} is no neuron; write 'fc1[3]' or ('fc1', 3), 'conv1[0, 2, 2]' or ('conv1', 0, 2, 2).")


def neuron_of(circuit: BlockCircuit, item: object) -> tuple[int, Index]:
    """Return (activation, index) of a neuron of the circuit, given as "fc1[3]", ("fc1", 3) or a `Neuron`.

    Raises: `UnknownNameError` for an unknown path, a missing axis, an index out of range; `OptionError`.
    """
    if isinstance(item, int) and not isinstance(item, bool):
        source = circuit.activations[circuit.sources[0]]
        raise OptionError(
            f"at={item!r} is no neuron, for it names no tensor. Write {_some(source.name, source.shape)!r}."
        )
    path, place = path_and_index(item)
    activation = circuit.find(path)
    shape = circuit.activations[activation].shape
    if len(place) != len(shape):
        raise UnknownNameError(
            f"{path!r} has {len(shape)} axes, of the shape {shape} an example; {item!r} gives {len(place)} indices. "
            f"Write {_some(path, shape, place)!r}."
        )
    if not all(0 <= i < size for i, size in zip(place, shape, strict=True)):
        last = Neuron(path, tuple(size - 1 for size in shape))
        raise UnknownNameError(
            f"{path!r} has the shape {shape} an example; it has no neuron {place}: its last is {last}."
        )
    return activation, place


def _some(path: str, shape: Sequence[int], start: Index = ()) -> str:
    """Return the name of a neuron of a tensor that begins with the indices given, as far as they fit."""
    place = [min(start[i], size - 1) if i < len(start) else 0 for i, size in enumerate(shape)]
    return str(Neuron(path, tuple(place)))


def neuron_or_none(circuit: BlockCircuit, item: object) -> tuple[int, Index] | None:
    """Return (activation, index) where an item names a neuron of the circuit; None where it is a tensor or a glob.

    A tensor that is called so itself comes first: `split_1[0]` is a result of an op with several.
    """
    if isinstance(item, str):
        item = item.strip()
        if item in circuit.names or item in circuit.absent:
            return None
        found = neuron_in_text(item)
        if found is None or (found[0] not in circuit.names and any(c in "*?" for c in item)):
            return None  # "fc[12]" is a glob where there is no tensor `fc`
    return neuron_of(circuit, item)


def nearest(name: str, known: Mapping[str, Any] | Sequence[str], most: int = 12) -> str:
    """Return what to say beside an unknown name: the names that come near, or some of those there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    more = f", … ({len(names)} in all: keys() lists them)" if len(names) > most else ""
    return f"Known: {', '.join(names[:most])}{more}."
