"""What a user declares of an op is compared with what the op computed, when it is first met."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.capture.execution import Ref
from provnet.circuit.blocks import Operand
from provnet.circuit.wiring import Wiring
from provnet.errors import TraceError
from provnet.rules.ops.base import Op, Placed

LOOKED_AT = 1 << 22
"""Edges of a block, all examples together, that are summed again: of a larger one, evenly spaced outputs."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""How far a sum may be from the recorded one, as a share of the sum of its terms' sizes. Half precision: 3e-2."""


def check_declared(op: Op, placed: list[Placed]) -> None:
    """Compare the blocks of a user's own rule with the recorded results.

    An affine block's contributions and bias must add up to the output, a selection's largest input must be it, and an
    index map must carry its very entries. Of unit edges, and of an op without neurons to compare, nothing is known.
    Raises: `TraceError` with the first output that differs. Time: one pass over the edges, at most `LOOKED_AT`.
    """
    for one in placed:
        block = one.block
        if block.kind == "elementwise" or not block.output_is_sum:
            continue
        recorded = one.layout.by_example(op.tensor(block.output), op.batch).reshape(op.batch, -1)
        step = max(1, op.batch * block.wiring.outputs * max(block.wiring.fan, 1) // LOOKED_AT)
        outputs = torch.arange(0, block.wiring.outputs, step)
        found, size = _computed(op, one, outputs)
        wanted = recorded[:, outputs].to(found.dtype)
        tolerance = 0.0 if block.kind == "index" else TOLERANCE.get(recorded.dtype, 3e-2)
        wrong = (found - wanted).abs() > tolerance * size
        wrong &= ~found.isnan()  # fill: nothing feeds it
        if bool(wrong.any()):
            example, place = (int(n) for n in wrong.nonzero()[0])
            raise TraceError(
                f"{op}: its rule says that neuron {int(outputs[place])} of example {example} is "
                f"{float(found[example, place]):.6g}, but the op gave {float(wanted[example, place]):.6g}. "
                f"{_ADVICE[block.kind]}"
            )


_ADVICE = {
    "affine": "Weights must be [outputs, inputs], and with the bias make the whole output: op.affine(wiring, weight, "
    "bias). For an op that is no such sum take form='jacobian' or form='uniform'.",
    "selection": "A selection passes on the largest of its inputs.",
    "index": "An index map passes entries on as they are. For an op that computes take form='jacobian'.",
}


def _computed(op: Op, one: Placed, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return what some outputs are by the block's own word, and the size of what they are made of: [batch, outputs]."""
    block = one.block
    dtype = torch.float64
    rows = torch.cat([op.by_example(i).reshape(op.batch, -1) for i in block.inputs], 1).to(dtype)
    if block.wiring.by_example:
        found = [_entries(block.wiring.of_example(n), rows[n : n + 1], outputs) for n in range(op.batch)]
        return torch.cat(found), torch.zeros((op.batch, len(outputs)), dtype=dtype)
    wiring = torch_wiring(block.wiring)
    index, present, _ = wiring.source(outputs[:, None], torch.arange(wiring.fan))
    index, present = torch.broadcast_tensors(*map(torch.as_tensor, (index, present)))
    terms = rows[:, index.reshape(-1)].reshape(op.batch, *index.shape)
    if block.kind == "selection":
        found = torch.where(present, terms, -torch.inf).amax(2)
        return found, found.abs()
    if block.kind == "index":
        found = _entries(block.wiring, rows, outputs)
        return found, torch.zeros_like(found)
    if not block.weight.ones:
        terms = terms * torch.cat([_weights(op, operand, outputs) for operand in block.operands], 2)
    terms = torch.where(present, terms, 0.0)
    if block.bias is not None:
        bias = _looked_up(block.bias, block.bias_by_example, block.wiring.bias(outputs)[:, None])
        terms = torch.cat([terms, bias.expand(op.batch, -1, 1)], 2)
    return terms.sum(2), terms.abs().sum(2)


def _entries(wiring: Wiring, rows: Tensor, outputs: Tensor) -> Tensor:
    """Return which entry an index map passes to some outputs, [batch, outputs]; NaN where it is none."""
    wiring = torch_wiring(wiring)
    found = wiring.source(outputs[:, None], torch.arange(wiring.fan))
    index, present = torch.broadcast_tensors(*map(torch.as_tensor, found[:2]))
    terms = rows[:, index.reshape(-1)].reshape(len(rows), *index.shape)
    fed = torch.where(present, terms, 0.0).sum(2)  # one slot at most is there
    return torch.where(present.any(1), fed, torch.nan)


def torch_wiring(wiring: Wiring) -> Wiring:
    """Return a wiring whose look-ups take tensors: the tables of a `Gather` are numpy's."""
    return wiring.with_tables(torch.as_tensor)


def _weights(op: Op, operand: Operand, outputs: Tensor) -> Tensor:
    """Return an operand's weights at the slots of some outputs, [batch or 1, outputs, fan]."""
    wiring = torch_wiring(operand.wiring)
    place = wiring.source(outputs[:, None], torch.arange(wiring.fan))[2]
    place = torch.broadcast_to(torch.as_tensor(place), (len(outputs), wiring.fan))
    weight = operand.weight
    try:
        values = weight.numbers(op.by_example)
    except TypeError as error:
        raise TraceError(
            f"{op}: its rule gives weights of the kind {type(weight).__name__}, which ops of one's "
            "own cannot have. Take Ones, Stored, PerExample or Partner."
        ) from error
    if values is None:
        return torch.ones((op.batch, *place.shape), dtype=torch.float64)
    return _looked_up(values, weight.by_example, place).expand(op.batch, -1, -1)


def _looked_up(values: Tensor, by_example: bool, index: Tensor) -> Tensor:
    flat = values.detach().to(torch.float64)
    flat = flat.reshape(len(flat), -1) if by_example else flat.reshape(1, -1)
    return flat[:, index.reshape(-1)].reshape(len(flat), *index.shape)


def is_elementwise(op: Op) -> bool:
    """Return whether an op of one active input makes each entry of its result from the same entry of that input.

    Every other entry is exchanged for another number, then the rest; what stays must give what it gave.
    """
    (source,) = set(op.inputs)
    recorded = op.tensor(source)
    result = op.tensor(op.output)
    for side in (0, 1):
        changed = (torch.arange(recorded.numel(), device=recorded.device) % 2 == side).reshape(recorded.shape)
        other = torch.where(changed, recorded * 0.5 + 0.25, recorded)

        def given(ref: Ref, other: Tensor = other) -> Tensor:
            return other if ref.id == source else op.tensor(ref)

        again = op.replay(given)[op.traced.outputs.index(op.output)]
        if not torch.equal(again[~changed], result[~changed]):
            return False
    return True
