"""The grammar of blocks: which kinds, roles, wirings and fields make a circuit that every kernel may read.

Circuits from files are checked against it before anything is allocated or run; what a trace builds obeys it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from provnet.circuit.blocks import Activation, Block, BlockCircuit, Operand
from provnet.circuit.conventions import CONVENTIONS
from provnet.circuit.unit_functions import call_faults
from provnet.circuit.weight_spec import is_tensor, memory_faults, numbers_faults, weight_faults
from provnet.circuit.wiring_spec import biases_of, examples_of, faults_of
from provnet.errors import CircuitError

ROLES = {
    "affine": ("linear", "product", "pooling", "sum", "scale", "softmax", "norm"),
    "selection": ("pooling",),
    "elementwise": ("none",),
    "index": ("none",),
}


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
    inside = {i for block in circuit.blocks for i in (*block.reads, block.output)}
    if missing := sorted((ends | inside) - set(known)):
        yield f"it refers to tensors that it does not hold ({missing[:5]})"
    if not circuit.sources or not circuit.outputs:
        yield "it has no source or no output"
    if len(set(circuit.sources)) < len(circuit.sources):
        yield "it has a source twice"
    made = set(circuit.sources)
    for block in circuit.blocks:
        if not block.inputs or not made.issuperset(set(block.reads) - {block.output}):
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
    if not is_tensor(handle):
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
    padding = activation.padding
    shapes = ((activation.size,), (batch, activation.size))
    if padding is not None and (padding.dtype != np.bool_ or padding.shape not in shapes):
        yield f"its mask of padding is {padding.dtype} {padding.shape}"


def block_faults(block: Block, circuit: BlockCircuit) -> Iterator[str]:
    """Yield what is wrong with one block, whose tensors are known to be there, and with its other forms."""
    if block.kind not in ROLES or block.role not in ROLES[block.kind]:
        yield f"the kind {block.kind!r} has no role {block.role!r}"
        return
    faults = [fault for operand in block.operands for fault in _operand_faults(operand, block, circuit)]
    yield from faults or _kind_faults(block, circuit)
    if block.convention is not None and block.convention not in CONVENTIONS:
        yield f"its convention {block.convention!r} is none"
    for name, form in block.forms.items():
        if form.output != block.output or form.forms or form.convention not in (None, block.convention):
            yield f"its form {name!r} is none of the same step"
        yield from (f"in its form {name!r}, {fault}" for fault in block_faults(form, circuit))


def _operand_faults(operand: Operand, block: Block, circuit: BlockCircuit) -> Iterator[str]:
    """Yield what is wrong with one operand: its wiring, its weights and its scale."""
    wiring, weight = operand.wiring, operand.weight
    sizes = circuit.activations[operand.input].size, circuit.activations[block.output].size
    if (wiring.inputs, wiring.outputs) != sizes:
        yield f"it wires {wiring.inputs} to {wiring.outputs} neurons, of {sizes[0]} and {sizes[1]}"
        return
    if min(wiring.inputs, wiring.outputs, wiring.fan, wiring.channels, wiring.groups) < 1:
        yield "its wiring has nothing to wire"
        return
    faults = list(faults_of(wiring))
    if faults:
        yield from faults
        return
    yield from weight_faults(weight, wiring, circuit)
    yield from _scale_faults(operand.scale, wiring.inputs, circuit.batch)


def _kind_faults(block: Block, circuit: BlockCircuit) -> Iterator[str]:
    """Yield fields that the kind of a block does not go with. Its operands are sound."""
    several = len(block.operands) > 1
    for operand in block.operands:
        wiring = operand.wiring
        selecting = wiring.selects or (several and wiring.fan == 1 and wiring.channel_axis is None)
        if block.kind == "selection" and not selecting:
            yield f"nothing is selected over a {type(wiring).__name__}"
        if not block.has_coefficients and (not wiring.unit or wiring.fan > 1):
            yield f"unit edges are no {type(wiring).__name__}"
        examples = examples_of(wiring)
        if examples is not None and (block.kind != "index" or examples != circuit.batch):
            yield f"a wiring by example wants an index map of {circuit.batch} examples, not of {examples}"
        if block.kind != "affine" and (not operand.weight.ones or operand.scale is not None):
            yield f"the kind {block.kind!r} has no weights"
    if block.kind == "elementwise" and several:
        yield f"a function of one entry has {len(block.operands)} inputs"
    if block.copies not in (1, block.counted):
        yield f"its slots count each contribution {block.copies} times"
    if block.annotation not in (None, "seed"):
        yield f"an annotation function of its own called {block.annotation!r} is not known"
    biases = biases_of(block.operands[-1].wiring)
    if block.kind == "affine":
        examples = circuit.batch * block.bias_by_example
        yield from numbers_faults("biases", block.bias, biases, examples)
        yield from memory_faults(block.bias_memory, biases, examples)
    elif block.bias is not None or block.bias_memory:
        yield f"the kind {block.kind!r} has no biases"
    if block.call is not None:
        if block.kind != "elementwise":
            yield f"the kind {block.kind!r} computes no function of one entry"
        yield from call_faults(block.call)


def _scale_faults(scale: Any, inputs: int, batch: int) -> Iterator[str]:
    if scale is None:
        return
    if not is_tensor(scale) or scale.dim() != 2 or scale.shape[0] != batch or inputs % max(scale.shape[1], 1):
        yield f"its scale is not [batch, rows] with rows that divide {inputs} neurons"
    elif not scale.dtype.is_floating_point:
        yield f"its scale holds {scale.dtype}"
