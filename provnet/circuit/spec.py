"""The grammar of blocks: which kinds, roles, wirings and fields make a circuit that every kernel may read.

Circuits from files are checked against it before anything is allocated or run; what a trace builds obeys it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from provnet.circuit.blocks import Activation, Block, BlockCircuit, Memory
from provnet.circuit.deferred import Deferred, raw
from provnet.circuit.unit_functions import call_faults
from provnet.circuit.wiring import (
    AdaptiveWindow,
    Broadcast,
    Convolution,
    Dense,
    Gather,
    OneToOne,
    Reduction,
    Window,
)
from provnet.circuit.wiring_spec import biases_of, faults_of, weights_of
from provnet.errors import CircuitError

ROLES = {
    "affine": ("linear", "pooling", "sum", "scale"),
    "selection": ("pooling",),
    "elementwise": ("none",),
    "index": ("none",),
}
SELECTING = (Window, AdaptiveWindow, Reduction, Broadcast)
UNIT = (OneToOne, Gather)

FURTHEST = 1 << 62
"""The largest entry of a model's tensor that a block may say its weight begins or ends at."""


def check_circuit(circuit: BlockCircuit) -> BlockCircuit:
    """Return the circuit. Raises `CircuitError` with the first fault that is found, if there is one.

    Sound means: activations have the layout that their tensors have; blocks come behind those that feed them, and make
    each activation once; every block has the fields that its kind has, a wiring between the neurons there are, and as
    many weights and biases as the wiring reads. Time: linear in the neurons, without the edges.
    """
    fault = next(_faults(circuit), None)
    if fault is not None:
        raise CircuitError(f"the circuit is malformed: {fault}. Save it again, or mend what made it.")
    return circuit


def _faults(circuit: BlockCircuit) -> Iterator[str]:
    if circuit.batch < 1:
        yield f"it has {circuit.batch} examples, and wants at least one"
    for key, activation in circuit.activations.items():
        if key != activation.id:
            yield f"tensor {activation.id} is filed as {key}"
        for fault in activation_faults(activation, circuit.batch):
            yield f"the tensor {activation.names!r}: {fault}"
    yield from _order_faults(circuit)
    for block in circuit.blocks:
        for fault in block_faults(block, circuit):
            yield f"the block {block.path!r}: {fault}"


def _order_faults(circuit: BlockCircuit) -> Iterator[str]:
    """Yield references to tensors that are not there, or not yet, or that are made twice."""
    known = circuit.activations
    ends = {*circuit.sources, *circuit.outputs, *circuit.names.values()}
    inside = {i for block in circuit.blocks for i in (*block.inputs, block.output)}
    if missing := sorted((ends | inside) - set(known)):
        yield f"it refers to tensors that it does not hold ({missing[:5]})"
    if not circuit.sources or not circuit.outputs:
        yield "it has no source or no output"
    if len(set(circuit.sources)) < len(circuit.sources):
        yield "it has a source twice"
    made = set(circuit.sources)
    for block in circuit.blocks:
        if not block.inputs or not made.issuperset(block.inputs):
            yield f"the block {block.path!r} comes before what feeds it"
        if block.output in made:
            yield f"the block {block.path!r} makes a tensor that is there already"
        made.add(block.output)
    if lost := sorted(set(known) - made):
        yield f"nothing makes the tensors {lost[:5]}"


def activation_faults(activation: Activation, batch: int) -> Iterator[str]:
    """Yield where a recorded tensor differs from what is said of it: its shape, its examples' axis, its dtype."""
    handle, axis, inner = activation.handle, activation.axis, activation.inner
    if not activation.names:
        yield "it has no name"
    if not _is_tensor(handle):
        yield f"{type(handle).__name__} is no tensor"
        return
    shape = tuple(handle.shape)
    if not 0 <= axis < len(shape) or inner < 1 or shape[axis] != batch * inner:
        yield f"its axis {axis} of {shape} does not hold {batch} examples of {inner}"
        return
    merged = (inner,) if inner > 1 else ()
    if activation.shape != (*shape[:axis], *merged, *shape[axis + 1 :]) or prod(activation.shape) < 1:
        yield f"one example is said to have the shape {activation.shape}, of {shape}"
    if handle.dtype.is_complex:
        yield f"its numbers are {handle.dtype}"
    void = activation.void
    if void is not None and (void.dtype != np.bool_ or void.shape != (activation.size,)):
        yield f"its mask of absent neurons is {void.dtype} {void.shape}"


def block_faults(block: Block, circuit: BlockCircuit) -> Iterator[str]:
    """Yield what is wrong with one block, whose tensors are known to be there."""
    if block.kind not in ROLES or block.role not in ROLES[block.kind]:
        yield f"the kind {block.kind!r} has no role {block.role!r}"
        return
    wiring = block.wiring
    sizes = circuit.input_size(block), circuit.activations[block.output].size
    if (wiring.inputs, wiring.outputs) != sizes:
        yield f"it wires {wiring.inputs} to {wiring.outputs} neurons, of {sizes[0]} and {sizes[1]}"
        return
    if min(wiring.inputs, wiring.outputs, wiring.fan, wiring.channels, wiring.groups) < 1:
        yield "its wiring has nothing to wire"
        return
    faults = list(faults_of(wiring))
    yield from faults or _kind_faults(block, circuit)


def _kind_faults(block: Block, circuit: BlockCircuit) -> Iterator[str]:
    """Yield fields that the kind of a block does not go with. Its wiring is sound."""
    wiring = block.wiring
    if block.kind == "selection" and (not isinstance(wiring, SELECTING) or isinstance(wiring, Convolution)):
        yield f"nothing is selected over a {type(wiring).__name__}"
    if not block.has_coefficients and not isinstance(wiring, UNIT):
        yield f"unit edges are no {type(wiring).__name__}"
    if isinstance(wiring, Broadcast):
        first = circuit.activations[block.inputs[0]].size
        if len(block.inputs) != 2 or first != wiring.offset:
            yield f"its first input has {first} neurons, and the second begins at {wiring.offset}"
    if block.kind == "elementwise" and len(block.inputs) != 1:
        yield f"a function of one entry has {len(block.inputs)} inputs"
    if block.kind == "affine":
        weights, biases, batch = weights_of(wiring), biases_of(wiring), circuit.batch
        yield from _numbers_faults("weights", raw(block, "weight"), weights, batch * block.weight_by_example)
        yield from _numbers_faults("biases", block.bias, biases, batch * block.bias_by_example)
        yield from _scaled_faults(block)
        yield from _memory_faults(block.weight_memory, weights, batch * block.weight_by_example)
        yield from _memory_faults(block.bias_memory, biases, batch * block.bias_by_example)
    elif raw(block, "weight") is not None or block.bias is not None or block.weight_memory or block.bias_memory:
        yield f"the kind {block.kind!r} has neither weights nor biases"
    if block.call is not None:
        if block.kind != "elementwise":
            yield f"the kind {block.kind!r} computes no function of one entry"
        yield from call_faults(block.call)


def _numbers_faults(what: str, held: Any, count: int, examples: int) -> Iterator[str]:
    """Yield why a tensor is not `count` real numbers, by `examples` if there are any. A promise is judged by its base.

    What a bias repeats is one number a neuron in a view, so the entries are counted and not the bytes.
    """
    if held is None:
        if examples:
            yield f"it has no {what}, and says that each example has its own"
        return
    tensor = held.parts[0] if isinstance(held, Deferred) else held
    if not _is_tensor(tensor) or tensor.dtype.is_complex or str(tensor.dtype) == "torch.bool":
        yield f"its {what} are no tensor of real numbers"
    elif tensor.numel() != count * max(examples, 1) or (examples and tensor.shape[0] != examples):
        yield f"it has {tensor.numel()} {what}, and its wiring reads {count * max(examples, 1)}"


def _scaled_faults(block: Block) -> Iterator[str]:
    """Yield why a weight that is kept as two factors is not one row a channel."""
    held = raw(block, "weight")
    if not isinstance(held, Deferred):
        return
    if not isinstance(block.wiring, Dense | Convolution) or block.weight_by_example:
        yield "only dense layers and convolutions have weights in two factors"
    elif held.parts[0].shape[0] != biases_of(block.wiring) or not held.parts[1].dtype.is_floating_point:
        yield "the rows of its weight are not its channels"


def _memory_faults(memory: Memory | None, count: int, examples: int) -> Iterator[str]:
    if memory is None:
        return
    _, offset, shape, strides = memory
    sound = len(shape) == len(strides) and all(n >= 1 for n in shape) and min(offset, 0, *strides) == 0
    if not sound or prod(shape) != count * max(examples, 1):
        yield f"the entries {memory} of the model's tensor are not as many as it reads"
    elif offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) > FURTHEST:
        yield f"the entries {memory} of the model's tensor lie beyond any memory"


def _is_tensor(handle: Any) -> bool:
    return hasattr(handle, "numel") and hasattr(handle, "shape") and hasattr(handle, "dtype")
