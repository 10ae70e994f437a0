"""The edges of a program, listed one by one: each step's own Jacobian says who feeds whom, and with what weight.

Nothing here knows provnet or its wirings. The list is a `tests.edge_lists.Network`, which `tests.oracles` evaluates.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from tests.edge_lists import Array, Layer, Network
from tests.fuzz.program import Program, Step, run_step


def listed(program: Program, model: nn.Module, inputs: tuple[Tensor, ...], output: int) -> tuple[Network, Array] | None:
    """Return (edges, the sources of one example, flat) with the value `output` last; None if a step cannot be listed.

    `inputs` hold one example.
    """
    if any(step.kind == "unlisted" for step in program.steps) or _joins_bias(program):
        return None
    values = program.values(model, inputs)
    whole = np.concatenate([_flat(x) for x in inputs])
    network = Network(whole.shape)
    numbers, start = [], 0  # of the network's value, for each value of the program
    for x in inputs:
        index = start + np.arange(x.numel())
        numbers.append(network.unit((0,), index, (x.numel(),)))
        start += x.numel()
    for step, result in zip(program.steps, values[len(inputs) :], strict=True):
        layer = _layer(step, model, [values[n] for n in step.reads], result)
        if layer is None:
            return None
        reads = tuple(numbers[n] for n in step.reads)
        numbers.append(network.append(_reading(layer, reads), (result.numel(),)))
    size = values[output].numel()
    network.unit((numbers[output],), np.arange(size), (size,))
    return network, whole


def _flat(tensor: Tensor) -> Array:
    return tensor.detach().reshape(-1).double().numpy()


def _reading(layer: Layer, reads: tuple[int, ...]) -> Layer:
    return Layer(layer.kind, reads, layer.source, layer.weight, layer.bias, layer.function)


def _joins_bias(program: Program) -> bool:
    """Return whether a constant may be added to a linear map's result, which provnet takes as the map's own bias."""
    count = len(program.sources)

    def behind(number: int) -> bool:
        if number < count:
            return False
        step = program.steps[number - count]
        return step.kind == "linear" or (step.kind == "index" and any(behind(n) for n in step.reads))

    return any(step.op == "add_constant" and behind(step.reads[0]) for step in program.steps)


def jacobians(step: Step, model: nn.Module, given: list[Tensor]) -> Array:
    """Return [outputs, entries of all values read]: a value that is read twice has columns for each time."""
    leaves = [x.detach().clone().requires_grad_() for x in given]
    result = run_step(step, model, leaves, batch=1).reshape(-1)
    rows = []
    for entry in result:
        parts = torch.autograd.grad(entry, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        rows.append(np.concatenate([_flat(part) for part in parts]))
    return np.stack(rows)


def _layer(step: Step, model: nn.Module, given: list[Tensor], result: Tensor) -> Layer | None:
    """Return the edges of one step, None where its Jacobian does not show them."""
    recorded, size = _flat(result), sum(x.numel() for x in given)
    if step.kind == "unit":
        source = _one_to_one(given[0], result)
        return None if source is None else Layer("pass", (), source[:, None], function=_always(recorded))
    if not result.requires_grad:  # constants alone: nobody feeds it
        return Layer("pass", (), np.full((len(recorded), 1), -1), function=_always(recorded))
    slopes = jacobians(step, model, given)
    if step.kind in ("index", "max"):
        if not bool(((slopes == 0) | (slopes == 1)).all() and (slopes.sum(1) <= 1).all()):
            return None  # a tie, which autograd shares out
        source = np.where(slopes.any(1), slopes.argmax(1), -1)[:, None]
        if step.kind == "index":
            return Layer("pass", (), source, function=_always(recorded))
        return Layer("max", (), source, window=1)
    a = np.concatenate([_flat(x) for x in given])
    source = np.where(slopes != 0, np.arange(size), -1)
    bias = recorded - slopes @ a
    wanted = step.kind == "scale" or bool((np.abs(bias) > 1e-9).any())
    return Layer(step.kind, (), source, slopes, bias if wanted else None)


def _one_to_one(given: Tensor, result: Tensor) -> Array | None:
    if given.numel() != result.numel():
        return None
    return np.arange(given.numel())


def _always(recorded: Array) -> Callable[[Array], Array]:
    return lambda _: recorded


def badly_conditioned(network: Network, x: Array) -> bool:
    """Return whether some sum nearly cancels, so that its shares are made of rounding."""
    values = network.forward(x)
    for layer in network.layers:
        if layer.weight is None:
            continue
        a = np.concatenate([values[i] for i in layer.inputs])
        parts = np.where(layer.source >= 0, a[layer.source], 0) * layer.weight
        if layer.bias is not None:
            parts = np.hstack([parts, layer.bias[:, None]])
        z, largest = parts.sum(1), np.abs(parts).sum(1)
        if bool(((np.abs(z) < 1e-7 * largest) & (largest > 0)).any()):
            return True
    return False
