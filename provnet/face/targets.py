"""What is explained: the start of the recursion at an output, R_y = one at the target and zero elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import Activation
from provnet.circuit.gates import Neuron
from provnet.errors import OptionError, TargetError, ValuationError
from provnet.face.meta_device import with_values
from provnet.face.spelling import nearest, neuron_in_text, path_and_index
from provnet.semirings.base import Semiring
from provnet.semirings.carrier import into_carrier
from provnet.torch_backend.blocks.rows import rows

Target = Any
"""An int, a tuple of indices, a list or 1-D tensor (one per example), "predicted", `Targets`, or a weighting."""


class Targets(tuple[Target, ...]):
    """Several targets, each with a result of its own: results get a leading axis in this order. `Targets(3, 5)`."""

    def __new__(cls, *targets: Target) -> Targets:
        if not targets:
            raise TargetError("Targets() names no target; give at least one, such as Targets(3, 5).")
        return super().__new__(cls, targets)

    def __repr__(self) -> str:
        return f"Targets({', '.join(map(repr, self))})"


def target_neurons(target: Target, output: Activation, batch: int, classes: Sequence[str] = ()) -> list[int] | Tensor:
    """Return for each example the target's neuron; a weighting tensor is returned as rows [batch, neurons].

    Targets index the last axis if all others (but the examples') have size 1; else they are full indices.
    A neuron of the output, "fc[3]" or ("fc", 3), and a name in `classes` are targets too, in lists as well.
    Raises: `TargetError` for an index out of range, a list of another length than the batch, or an ambiguous target.
    """
    if isinstance(target, str) and target == "predicted":
        return _predicted(output, batch)
    if isinstance(target, list):
        target = [_named(one, output, classes) for one in target]
    elif not isinstance(target, Tensor | np.ndarray):
        target = _named(target, output, classes)
    if isinstance(target, np.ndarray):
        target = torch.from_numpy(np.ascontiguousarray(target))
    if isinstance(target, Tensor):
        target = with_values(target, "target")
        if target.dim() > 0 and target.shape == output.handle.shape and not (target.dim() == 1 and _is_index(target)):
            return _weighting(target, output, batch)
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            raise TargetError(
                f"target is a tensor of dtype {target.dtype} and shape {tuple(target.shape)}; wanted whole numbers, "
                f"one per example ({batch}), or a weighting of the output's shape {tuple(output.handle.shape)}."
            )
        target = target.tolist()
    if isinstance(target, list):
        return _one_each(target, output, batch)
    return [_neuron(target, output)] * batch


def _named(target: Target, output: Activation, classes: Sequence[str]) -> Target:
    """Return a target that is given by name as indices; anything else as it is. Raises `TargetError`."""
    if isinstance(target, str) and target in classes:
        return (*(0 for _ in output.shape[:-1]), list(classes).index(target))
    if not isinstance(target, str | Neuron) and not (
        isinstance(target, tuple) and target and isinstance(target[0], str)
    ):
        return target
    example = str(Neuron(output.name, tuple(0 for _ in output.shape)))
    if isinstance(target, str) and neuron_in_text(target) is None:
        hint = nearest(target, ["predicted", *classes, example])
        raise TargetError(f"target={target!r} is unknown; a target has a class's name, or is a neuron. {hint}")
    path, index = path_and_index(target)
    if path not in output.names:
        raise TargetError(
            f"target={target!r} is no neuron of the explained output, {output.name!r}. Write {example!r}, or take "
            f"another output with output=."
        )
    return index


def _is_index(target: Tensor) -> bool:
    return not (target.is_floating_point() or target.dtype == torch.bool)


def _one_each(target: Sequence[Target], output: Activation, batch: int) -> list[int]:
    if len(target) != batch:
        raise TargetError(
            f"target lists {len(target)} classes for {batch} examples; give one per example, one int for all, or "
            "Targets(...) for several results."
        )
    whole = np.asarray(target) if all(type(one) is int for one in target) and _single_axis(output) else None
    if whole is not None and len(whole) and -output.size <= whole.min() and whole.max() < output.size:
        return (whole % output.size).tolist()  # what `_neuron` gives, for all at once
    return [_neuron(one, output) for one in target]


def _single_axis(output: Activation) -> bool:
    return not output.shape or prod(output.shape[:-1]) == 1


def _predicted(output: Activation, batch: int) -> list[int]:
    if not _single_axis(output):
        raise TargetError(
            f"the output has the shape {output.shape} an example, so 'predicted' is ambiguous; give full indices, such "
            f"as target={(0,) * len(output.shape)}, or a weighting of the shape {tuple(output.handle.shape)}."
        )
    # `max` gives the first of equal values.
    return rows(output, batch, output.handle.dtype).max(dim=1).indices.tolist()


def _neuron(target: Target, output: Activation) -> int:
    if isinstance(target, tuple):
        if len(target) != len(output.shape):
            raise TargetError(f"target {target} has {len(target)} indices; the output has the shape {output.shape}.")
        index = 0
        for at, size in zip(target, output.shape, strict=True):
            index = index * size + _checked(at, size, target)
        return index
    if isinstance(target, bool) or not hasattr(target, "__index__"):
        raise TargetError(
            f"target={target!r} is none of: an int, a tuple of indices, a list or tensor of them, 'predicted', "
            f"Targets(...)."
        )
    if not _single_axis(output):
        raise TargetError(
            f"target={target} is one index, but the output has the shape {output.shape} an example; give all indices, "
            f"such as target={(*(0 for _ in output.shape[:-1]), int(target))}."
        )
    return _checked(target, output.size, target)


def _checked(at: Any, size: int, target: Target) -> int:
    index = int(at)
    if not -size <= index < size:
        raise TargetError(f"target {target} is out of range: the axis has {size} entries, 0 to {size - 1}.")
    return index % size


def _weighting(target: Tensor, output: Activation, batch: int) -> Tensor:
    if not bool(torch.isfinite(target).all()):
        raise TargetError("the weighting that is the target holds a NaN or an Inf; its entries must be finite.")
    held = Activation(output.id, output.names, output.shape, target, output.axis, output.inner)
    return rows(held, batch, target.dtype)


def start_rows(
    neurons: list[int] | Tensor, start: Any, output: Activation, batch: int, semiring: Semiring, floating: torch.dtype
) -> Tensor:
    """Return the elements to start with, [batch, neurons, *element]: `zero` everywhere but at the target.

    `start`: "one"; "logit", the output itself (for semirings whose carrier holds it); or elements, one for all examples
    or one each. A weighting gives its entries as elements, 0 standing for the semiring's zero.
    """
    device = output.handle.device
    like = torch.empty((), dtype=semiring.element_dtype(floating), device=device)
    found = semiring.full((batch, output.size), semiring.zero, like)
    if isinstance(neurons, Tensor):
        if not (isinstance(start, str) and start == "one"):
            raise OptionError("a weighting as target says where to start and with what; leave start='one'.")
        alive = neurons != 0
        found[alive] = _numbers(neurons[alive].to(device), semiring, like)
        return found
    examples = torch.arange(batch, device=device)
    at = torch.tensor(neurons, device=device)
    if isinstance(start, str) and start == "one":
        found[examples, at] = semiring.full((), semiring.one, like)
        return found
    found[examples, at] = _start(start, rows(output, batch, floating)[examples, at], semiring, like)
    return found


def _start(start: Any, logits: Tensor, semiring: Semiring, like: Tensor) -> Tensor:
    if isinstance(start, str):
        if start == "logit":
            return _numbers(logits, semiring, like)
        raise OptionError(f"start={start!r} is unknown; take 'one', 'logit' or elements of the semiring.")
    given = with_values(start, "start") if isinstance(start, Tensor) else start
    found = _numbers(given, semiring, like)
    shapes = (semiring.element_shape, (len(logits), *semiring.element_shape))
    if tuple(found.shape) not in shapes:
        raise OptionError(
            f"start has the shape {tuple(found.shape)}; wanted one element for all examples, of shape {shapes[0]}, or "
            f"one each, {shapes[1]}."
        )
    return found.expand(shapes[1])


def _numbers(values: Any, semiring: Semiring, like: Tensor) -> Tensor:
    """Return numbers [n] as elements [n, *element]: exact counts are whole numbers, held as residues."""
    if not semiring.residues:
        return _elements(values, semiring, like)
    return semiring.encode(_elements(values, semiring.held("raise"), like))


def _elements(values: Any, semiring: Semiring, like: Tensor) -> Tensor:
    """Return values as elements of the semiring. Raises `OptionError` where the carrier does not hold them."""
    try:
        elements = into_carrier(semiring, values, like.dtype, "start or target").to(like.device)
    except ValuationError as error:
        raise OptionError(str(error)) from error
    width = len(semiring.element_shape)
    if width and elements.shape[-width:] != semiring.element_shape:
        raise OptionError(
            f"an element of {semiring.name!r} has the shape {semiring.element_shape}; got elements of shape "
            f"{tuple(elements.shape)}. Give the start as elements of that shape."
        )
    return elements
