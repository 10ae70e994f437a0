"""Parameters among the sources: their names are taken out before a model is recorded, and looked up in its circuit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.parameters import uses_of
from provnet.circuit.weights import Memory


def without_parameters(
    model: Any, sources: Any, arguments: list[tuple[str, Tensor]]
) -> tuple[Any, dict[str, nn.Parameter]]:
    """Return the sources that are inputs or modules, None if none is left, and those that are parameters, by name.

    The name of an argument or of a module goes first.
    """
    listed = [sources] if isinstance(sources, str) else sources
    if not isinstance(model, nn.Module) or not isinstance(listed, list | tuple | set | frozenset):
        return sources, {}
    known = dict(model.named_parameters(remove_duplicate=False))
    taken = {*(name for name, _ in arguments), *(path for path, _ in model.named_modules())}
    found = {name: known[name] for name in listed if isinstance(name, str) and name in known and name not in taken}
    if not found:
        return sources, {}
    rest = [source for source in listed if not isinstance(source, str) or source not in found]
    return rest or None, found


def where_they_lie(circuit: BlockCircuit, parameters: Mapping[str, nn.Parameter]) -> dict[str, Memory]:
    """Return name -> where a parameter lies in memory, under the name that the circuit has for it (tied ones have one).

    Raises: `UnsupportedOperationError` for a parameter that is no weight and no bias of any edge.
    """
    by_name = {kept.name: kept.handle for kept in circuit.kept}
    by_memory = {handle.untyped_storage().data_ptr(): name for name, handle in by_name.items()}
    found: dict[str, Memory] = {}
    for name, parameter in parameters.items():
        held = name if name in by_name else by_memory.get(parameter.untyped_storage().data_ptr(), name)
        own = by_name.get(name, parameter)
        found[name] = held, own.storage_offset(), tuple(own.shape), own.stride()
        uses_of(circuit, name, found[name])
    return found
