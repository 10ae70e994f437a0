"""Executions of one op, made by hand, and a plain evaluation of blocks: no recorder and no backend is in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provnet.capture.execution import Execution, Ref, TracedOp, Value
from provnet.circuit.blocks import Activation, Block, BlockCircuit, Operand
from provnet.circuit.examples import example_of
from provnet.circuit.weights import Partner, PerExample, Stored


def execute(
    function: Callable[..., Any],
    *args: Any,
    sources: Sequence[Tensor],
    batch_dim: int = 0,
    name: str | None = None,
    opaque: Any = None,
    **kwargs: Any,
) -> Execution:
    """Run `function` and return its execution as the only op; `sources`, among its arguments, are active."""
    values: dict[int, Value] = {}

    def ref(argument: Any) -> Any:
        if isinstance(argument, Tensor):
            for value in values.values():
                if value.tensor is argument:
                    return Ref(value.id)
            active = any(argument is source for source in sources)
            values[len(values)] = Value(len(values), argument, "source" if active else "constant", active=active)
            return Ref(len(values) - 1)
        if isinstance(argument, list | tuple):
            return type(argument)(ref(part) for part in argument)
        return argument

    refs, named = tuple(ref(a) for a in args), {key: ref(a) for key, a in kwargs.items()}
    results = function(*args, **kwargs)
    results = tuple(results) if isinstance(results, list | tuple) else (results,)
    outputs = []
    for result in results:
        if isinstance(result, Tensor) and result.is_floating_point():
            outputs.append(len(values))
            values[len(values)] = Value(len(values), result.detach(), "computed", active=True)
        else:
            outputs.append(None)
    schema = getattr(function, "_schema", None)
    op = TracedOp(
        0,
        name or str(getattr(schema, "name", "")).replace("::", "."),
        function,
        refs,
        named,
        tuple(outputs),
        "layer",
        "Layer",
        "layer",
    )
    inputs = {value.id for value in values.values() if value.kind == "source"}
    return Execution(
        model="one op",
        ops=(op,),
        values=values,
        sources={f"input{i}" if i else "input": value for i, value in enumerate(sorted(inputs))},
        outputs={f"output{i}": value for i, value in enumerate(outputs) if value is not None},
        modules=(),
        batch=sources[0].shape[batch_dim],
        batch_dim=batch_dim,
        opaque={} if opaque is None else {0: opaque},
    )


def rows(activation: Activation, batch: int) -> np.ndarray:
    """Return [batch, neurons] of an activation, element by element as `Activation` says where an example lies."""
    tensor = activation.handle.detach().double().numpy()
    merged = (activation.inner,) if activation.inner > 1 else ()
    found = np.zeros((batch, *activation.shape))
    for index in np.ndindex(*tensor.shape):
        place = index[activation.axis]
        rest = (place % activation.inner,) if merged else ()
        inside = (*index[: activation.axis], *rest, *index[activation.axis + 1 :])
        found[(place // activation.inner, *inside)] = tensor[index]
    return found.reshape(batch, -1)


def slots(block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (input, present, weight index) of all slots of all outputs, each [outputs, fan]."""
    outputs, fan = np.arange(block.wiring.outputs)[:, None], np.arange(block.wiring.fan)[None]
    found = block.wiring.source(outputs, fan)
    shape = (block.wiring.outputs, block.wiring.fan)
    return tuple(np.broadcast_to(np.asarray(part), shape) for part in found)  # type: ignore[return-value]


def weights(circuit: BlockCircuit, operand: Operand) -> np.ndarray:
    """Return the weight of every slot of an operand, [batch, outputs, fan]."""
    wiring = operand.wiring
    outputs, fan = np.arange(wiring.outputs)[:, None], np.arange(wiring.fan)[None]
    place = np.broadcast_to(np.asarray(wiring.source(outputs, fan)[2]), (wiring.outputs, wiring.fan))
    match operand.weight:
        case Stored(values=values):
            return np.broadcast_to(values.detach().double().numpy().reshape(-1)[place], (circuit.batch, *place.shape))
        case PerExample(values=values):
            return values.detach().double().numpy().reshape(circuit.batch, -1)[:, place]
        case Partner(input=other):
            return rows(circuit.activations[other], circuit.batch)[:, place]
    return np.ones((circuit.batch, *place.shape))


def scaled(circuit: BlockCircuit, operand: Operand) -> np.ndarray:
    """Return an operand's input, [batch, neurons], each row times its number where the operand has a scale."""
    found = rows(circuit.activations[operand.input], circuit.batch)
    if operand.scale is None:
        return found
    return found * operand.scale.double().numpy().repeat(found.shape[1] // operand.scale.shape[1], axis=1)


def computed(circuit: BlockCircuit, block: Block) -> np.ndarray:
    """Return what a block computes from its inputs by its own wiring: [batch, outputs], NaN where nothing feeds one."""
    inputs = np.concatenate([scaled(circuit, operand) for operand in block.operands], axis=1)
    source, present, _ = slots(block)
    a = inputs[:, source]
    if block.kind == "selection":
        return np.where(present, a, -np.inf).max(-1)
    if block.kind in ("index", "elementwise"):
        assert (np.asarray(present).sum(1) <= 1).all()
        fed = np.where(present, a, 0.0).sum(-1)
        return np.where(present.any(1), fed, np.nan)
    w = np.concatenate([weights(circuit, operand) for operand in block.operands], axis=-1)
    z = np.where(present, a * w, 0.0).sum(-1) / block.copies
    if block.bias is None:
        return z
    b, at = block.bias.detach().double().numpy(), block.wiring.bias(np.arange(block.wiring.outputs))
    return z + (b.reshape(circuit.batch, -1)[:, at] if block.bias_by_example else b.reshape(-1)[at][None])


def agrees(circuit: BlockCircuit, tolerance: float = 1e-5) -> None:
    """Check every block but nonlinear unit edges: its own map gives the recorded output."""
    examples = [example_of(circuit, number) for number in range(circuit.batch)]
    for at, block in enumerate(circuit.blocks):
        wanted = rows(circuit.activations[block.output], circuit.batch)
        found = np.stack([computed(one, one.blocks[at])[number] for number, one in enumerate(examples)])
        assert found.shape == wanted.shape
        if block.kind == "elementwise" or not block.output_is_sum:
            continue
        if block.kind in ("index", "selection"):
            routed = ~np.isnan(found)
            np.testing.assert_array_equal(found[routed], wanted[routed])
        else:
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * (1 + np.abs(wanted).max()))
    assert torch.is_tensor(circuit.activations[circuit.outputs[0]].handle)
