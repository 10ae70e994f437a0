"""How many examples a sweep takes at a time, where nobody says: as many as a stated amount of memory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from provnet.face import Circuit, trace

FEWEST, MOST = 64, 2048
"""Examples of a batch, whatever a network's size is. Above `MOST` nothing is gained: what a batch costs besides its
examples is a hundredth of them by then."""

MEMORY = 256 << 20
"""Bytes that a batch's activations and their relevance, in all semirings, may take where it is larger than `FEWEST`."""

SHARES = 8
"""Each of several processes gets so many batches or more, so that none waits long for the others."""


def batch_choice(
    model: Any, data: Any, options: Mapping[str, Any], question: Mapping[str, Any], semirings: int, processes: int
) -> int:
    """Return the size of a sweep's batches. One example is traced to see how large the network is, if there are more
    than `FEWEST`.

    options    of `provnet.trace`.    question    of `Circuit.evaluate`. What it says of each example of a batch holds
    for batches of `FEWEST` alone, and so does data of unknown length, or a model that cannot be traced with one
    example.
    """
    if isinstance(data, DataLoader | IterableDataset) or not all(map(_of_any_batch, question.values())):
        return FEWEST
    count = _count(data)
    most = min(MOST, count if processes == 1 else count // (SHARES * processes))
    if most <= FEWEST:
        return FEWEST
    try:
        each = _bytes(trace(model, _first(model, data), **options), semirings)
    except Exception:
        return FEWEST  # the first batch will say what is wrong, if anything is
    size = min(most, max(FEWEST, MEMORY // max(each, 1)))
    return -(-count // -(-count // size))  # all batches alike: one of another size is compared with the model's own


def _of_any_batch(value: Any) -> bool:
    """Return whether a target or a start lists no examples."""
    if isinstance(value, tuple):
        return all(map(_of_any_batch, value))
    return not isinstance(value, list) and not hasattr(value, "__array__")


def _count(data: Any) -> int:
    """Return the number of examples, 0 if nobody knows it."""
    first = data[0] if isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor) else data
    return len(first) if isinstance(first, Sized) else 0


def _first(model: Any, data: Any) -> Tensor:
    """Return the first example as a batch of its own, where the model lies."""
    if isinstance(data, Tensor):
        x = data[:1]
    else:
        pair = isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor)
        one = data[0]
        x = one[:1] if pair else (one[0] if isinstance(one, tuple | list) else one)[None]
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return x if parameter is None else x.to(parameter.device)


def _bytes(circuit: Circuit, semirings: int) -> int:
    """Return what one example takes: its activations, and of each semiring as much again, and the weights asked for."""
    data = circuit.session.data
    width = circuit.session.floating(None).itemsize
    neurons = sum(prod(held.shape) for held in data.activations.values())
    weights = sum(prod(shape) for _, _, shape, _ in data.parameters.values())
    return width * (neurons * (1 + semirings) + weights * semirings)
