"""From what a user writes ("conv1", "features.*", ("fc", 3)) to tensors and neurons of a circuit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.circuit.gates import Neuron
from provnet.circuit.parameters import uses_of
from provnet.errors import OptionError, UnknownNameError
from provnet.face.meta_device import with_values
from provnet.face.spelling import is_neuron, nearest, neuron_or_none

At = str | Neuron | tuple[object, ...] | Iterable[object] | None


def tensors_at(circuit: BlockCircuit, at: At) -> frozenset[int]:
    """Return the activations that `at` names: paths, globs or neurons, one or several; None: the sources.

    A parameter that was named as a source stands for the outputs of the blocks that use it: its relevance is made of
    theirs. Raises: `UnknownNameError` for a name that is none, or a glob that fits nothing.
    """
    if at is None:
        return frozenset(circuit.sources).union(*(_users(circuit, name) for name in circuit.parameters))
    found: set[int] = set()
    for item in items_of(at):
        if isinstance(item, str) and item in circuit.parameters:
            found |= _users(circuit, item)
            continue
        neuron = neuron_or_none(circuit, item)
        found.update(_matching(circuit, item) if neuron is None else {neuron[0]})
    return frozenset(found)


def _users(circuit: BlockCircuit, parameter: str) -> set[int]:
    uses = uses_of(circuit, parameter, circuit.parameters[parameter])
    return {circuit.blocks[use.block].output for use in uses}


def _matching(circuit: BlockCircuit, pattern: str) -> set[int]:
    if pattern in circuit.names or not any(c in pattern for c in "*?["):
        return {circuit.find(pattern)}
    fitting = {circuit.names[name] for name in circuit.names if fnmatchcase(name, pattern)}
    if not fitting:
        raise UnknownNameError(f"the pattern {pattern!r} fits no recorded tensor. {nearest(pattern, circuit.names)}")
    return fitting


def neurons_at(circuit: BlockCircuit, at: At) -> tuple[tuple[int, tuple[int, ...] | None], ...]:
    """Return (activation, index) for each item of `at`; index None: all neurons of that tensor, row-major.

    An item is a path or a glob, or a neuron: "fc1[3]", ("fc1", 3) or a `Neuron`.
    """
    if at is None:
        return tuple((source, None) for source in circuit.sources)
    found: list[tuple[int, tuple[int, ...] | None]] = []
    for item in items_of(at):
        neuron = neuron_or_none(circuit, item)
        if neuron is not None:
            found.append(neuron)
        else:
            found.extend((activation, None) for activation in sorted(_matching(circuit, item)))
    return tuple(found)


def items_of(at: Any) -> list[Any]:
    """Return what `at` lists: one name or neuron is a list of itself."""
    single = isinstance(at, str) or not isinstance(at, Iterable) or (isinstance(at, tuple) and is_neuron(at))
    return [at] if single else list(at)


def output_named(circuit: BlockCircuit, output: str | int | None) -> int:
    """Return the activation of the explained output: the only one, or the one that `output` names or counts."""
    if output is None:
        if len(circuit.outputs) == 1:
            return circuit.outputs[0]
        names = [circuit.activations[o].name for o in circuit.outputs]
        raise OptionError(f"the model has {len(names)} outputs ({', '.join(names)}); say which with output=.")
    if isinstance(output, int):
        if not 0 <= output < len(circuit.outputs):
            raise OptionError(
                f"output={output}: the model has {len(circuit.outputs)} outputs, 0 to {len(circuit.outputs) - 1}."
            )
        return circuit.outputs[output]
    return circuit.find(output)


def blocks_named(circuit: BlockCircuit, path: str) -> list[int]:
    """Return the indices of the blocks with the path `path`. Raises `UnknownNameError` if there are none."""
    found = [index for index, block in enumerate(circuit.blocks) if block.path == path]
    if not found:
        known = ", ".join(block.path for block in circuit.blocks)
        reason = circuit.absent.get(path)
        raise UnknownNameError(reason or f"no block is called {path!r}. Known: {known}.")
    return found


def check_patterns(patterns: Iterable[str], blocks: Iterable[Block], what: str) -> None:
    """Refuse a pattern that fits no block: nothing falls back in silence. Raises `UnknownNameError`."""
    paths = [block.path for block in blocks]
    for pattern in patterns:
        if pattern not in paths and not any(fnmatchcase(path, pattern) for path in paths):
            raise UnknownNameError(f"{what} {pattern!r} fits no block. Blocks: {', '.join(paths)}.")


def masks_of(circuit: BlockCircuit, only: Mapping[str, Any] | None) -> dict[int, Tensor]:
    """Return activation -> [neurons], True where relevance may pass, from {name: channels, {axis: indices} or mask}.

    Raises: `UnknownNameError`; `OptionError` for a channel out of range, none at all, or a mask of another shape.
    """
    found: dict[int, Tensor] = {}
    for name, chosen in (only or {}).items():
        activation = circuit.find(name)
        shape = circuit.activations[activation].shape
        mask = _mask(name, chosen, shape)
        if not bool(mask.any()):
            raise OptionError(f"only[{name!r}] lets no neuron through, so nothing below has any relevance.")
        found[activation] = found[activation] & mask.reshape(-1) if activation in found else mask.reshape(-1)
    return found


def _mask(name: str, chosen: Any, shape: tuple[int, ...]) -> Tensor:
    """Return which neurons of a tensor are chosen, of the shape of one example."""
    if isinstance(chosen, Mapping):
        mask = torch.ones(shape, dtype=torch.bool)
        for axis, indices in chosen.items():
            if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
                raise OptionError(f"only[{name!r}] chooses along axis {axis!r}; one example has the shape {shape}.")
            along = torch.zeros(shape[axis], dtype=torch.bool)
            along[_indices(name, with_values(torch.as_tensor(indices), f"only[{name!r}]").cpu(), shape, axis)] = True
            mask &= along.reshape(-1, *[1] * (len(shape) - 1 - axis % len(shape)))
        return mask
    given = with_values(torch.as_tensor(chosen), f"only[{name!r}]").cpu()
    if given.dtype == torch.bool:
        if tuple(given.shape) != shape:
            raise OptionError(f"only[{name!r}] is a mask of the shape {tuple(given.shape)}; one example has {shape}.")
        return given
    mask = torch.zeros(shape or (1,), dtype=torch.bool)
    mask[_indices(name, given, shape or (1,), 0)] = True
    return mask


def _indices(name: str, given: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    """Return indices on an axis. Raises `OptionError` for what is none."""
    size = shape[axis]
    given = given if given.numel() else given.to(torch.int64)  # [] is a float tensor
    whole = not given.is_floating_point() and given.dtype != torch.bool and given.dim() <= 1
    if not whole or not bool(((given >= -size) & (given < size)).all()):
        raise OptionError(
            f"only[{name!r}] = {given.tolist()!r}: give channels from 0 to {size - 1}, or a mask of the shape {shape}."
        )
    return given.reshape(-1).to(torch.int64)
