"""What weights must be to be read safely, one function a kind: a file may claim any numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from math import prod
from typing import Any, TypeGuard

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.deferred import Deferred, raw
from provnet.circuit.einsums import ROWS, ROWS_BESIDE, Einsum
from provnet.circuit.unit_functions import row_call_faults
from provnet.circuit.weights import Centred, Jacobian, Memory, Ones, Partner, PerExample, Slope, Stored, Weight
from provnet.circuit.wiring import Wiring
from provnet.circuit.wiring_spec import biases_of, weights_of

FURTHEST = 1 << 62
"""The largest entry of a model's tensor that a block may say its weight begins or ends at."""


@singledispatch
def weight_faults(weight: Weight, wiring: Wiring, circuit: BlockCircuit) -> Iterator[str]:
    """Yield why a wiring, which is sound, cannot read a weight."""
    yield f"weights of the kind {type(weight).__name__} are not known"


@weight_faults.register
def _(weight: Ones, wiring: Wiring, circuit: BlockCircuit) -> Iterator[str]:
    yield from ()


@weight_faults.register
def _(weight: Stored, wiring: Wiring, circuit: BlockCircuit) -> Iterator[str]:
    held = raw(weight, "values")
    yield from numbers_faults("weights", held, weights_of(wiring), 0)
    yield from memory_faults(weight.memory, weights_of(wiring), 0)
    if isinstance(held, Deferred) and len(held.parts) == 2:
        if wiring.channel_axis is None:
            yield "only dense layers and convolutions have weights in two factors"
        elif held.parts[0].shape[0] != biases_of(wiring) or not held.parts[1].dtype.is_floating_point:
            yield "the rows of its weight are not its channels"


@weight_faults.register
def _(weight: PerExample, wiring: Wiring, circuit: BlockCircuit) -> Iterator[str]:
    yield from numbers_faults("weights", raw(weight, "values"), weights_of(wiring), circuit.batch)


@weight_faults.register
def _(weight: Partner, wiring: Wiring, circuit: BlockCircuit) -> Iterator[str]:
    size = circuit.activations[weight.input].size
    if size != weights_of(wiring):
        yield f"its partner has {size} neurons, and its wiring reads {weights_of(wiring)}"


@weight_faults.register
def _(weight: Centred, wiring: Wiring, circuit: BlockCircuit) -> Iterator[str]:
    if not isinstance(wiring, Einsum) or wiring.size.get("j") != weight.size or wiring.size.get("k") != weight.size:
        yield f"weights of {weight.size} centred entries do not fit its wiring"
        return
    rows = wiring.size["o"] if "o" in wiring.weight else 1
    yield from numbers_faults("scales", weight.gamma, weight.size * rows, 0)


@weight_faults.register
def _(weight: Slope, wiring: Wiring, circuit: BlockCircuit) -> Iterator[str]:
    size = circuit.activations[weight.output].size
    if not _by_rows(wiring, weight.behind) or size != wiring.outputs:
        yield "the derivative of a softmax is wired row by row"
    elif weight.size != wiring.size["j"]:
        yield f"the rows of a softmax have {weight.size} entries, and its wiring reads {wiring.size['j']}"


@weight_faults.register
def _(weight: Jacobian, wiring: Wiring, circuit: BlockCircuit) -> Iterator[str]:
    ends = (weight.input, weight.output)
    sizes = tuple(circuit.activations[i].size for i in ends)
    if not _by_rows(wiring, weight.behind):
        yield "a derivative is wired row by row"
    elif sizes != (wiring.inputs, wiring.outputs) or weight.rows != wiring.size["o"] * weight.behind:
        yield "a derivative is that of a step from its input to its output"
    yield from row_call_faults(weight.call)


def _by_rows(wiring: Wiring, behind: int) -> TypeGuard[Einsum]:
    """Return whether the entries of rows feed entries of the same row, rows side by side if `behind` is above 1."""
    if not isinstance(wiring, Einsum) or behind < 1:
        return False
    labels = (wiring.input, wiring.weight, wiring.output_labels)
    return labels == ROWS if behind == 1 else labels == ROWS_BESIDE and wiring.size["b"] == behind


def numbers_faults(what: str, held: Any, count: int, examples: int) -> Iterator[str]:
    """Yield why a tensor is not `count` real numbers, by `examples` if there are any.

    A promise of two factors is judged by its base; no other one is ever read from a file.

    What a bias repeats is one number a neuron in a view, so the entries are counted and not the bytes.
    """
    if held is None:
        if examples:
            yield f"it has no {what}, and says that each example has its own"
        return
    if isinstance(held, Deferred) and not hasattr(held, "scale"):
        return
    tensor = held.parts[0] if isinstance(held, Deferred) else held
    if not is_tensor(tensor) or tensor.dtype.is_complex or str(tensor.dtype) == "torch.bool":
        yield f"its {what} are no tensor of real numbers"
    elif tensor.numel() != count * max(examples, 1) or (examples and tensor.shape[0] != examples):
        yield f"it has {tensor.numel()} {what}, and its wiring reads {count * max(examples, 1)}"


def memory_faults(memory: Memory | None, count: int, examples: int) -> Iterator[str]:
    """Yield why the entries of a model's tensor that a weight is said to show are not as many as it has."""
    if memory is None:
        return
    _, offset, shape, strides = memory
    sound = len(shape) == len(strides) and all(n >= 1 for n in shape) and min(offset, 0, *strides) == 0
    if not sound or prod(shape) != count * max(examples, 1):
        yield f"the entries {memory} of the model's tensor are not as many as it reads"
    elif offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) > FURTHEST:
        yield f"the entries {memory} of the model's tensor lie beyond any memory"


def is_tensor(handle: Any) -> bool:
    """Return whether a handle has what all tensors have."""
    return hasattr(handle, "numel") and hasattr(handle, "shape") and hasattr(handle, "dtype")
